"""The stochastic neuron over whole sequences in one compiled loop: the draws of ``spikestrip.draws``, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from spikestrip.compiled import compiled
from spikestrip.draws import BITS, MASK, MULTIPLIERS, ROUNDS, WEYL

GROUPS = 16  # counters side by side in SIMD lanes, of four steps each
STEPS = 4 * GROUPS
LOW, HIGH, OUT = np.uint64(MASK), np.uint64(32), np.uint64(32 - BITS)
M0, M1 = (np.uint64(number) for number in MULTIPLIERS)
GROWN0, GROWN1 = (np.uint64(number) for number in WEYL)


@register_jitable
def _draw(key0: Any, key1: Any, neuron: Any, group: Any, layer: Any, sample: Any, words: Any) -> None:
    """Philox's four words of the counters (neuron, group + i, layer, sample), i < GROUPS: words (4, GROUPS) uint64."""
    for i in range(GROUPS):
        c0, c1, c2, c3 = neuron, (group + np.uint64(i)) & LOW, layer, sample
        k0, k1 = key0, key1
        for _ in range(ROUNDS):
            product0, product1 = M0 * (c0 & LOW), M1 * (c2 & LOW)
            c0, c1 = (product1 >> HIGH) ^ c1 ^ k0, product1 & LOW
            c2, c3 = (product0 >> HIGH) ^ c3 ^ k1, product0 & LOW
            k0, k1 = (k0 + GROWN0) & LOW, (k1 + GROWN1) & LOW
        words[0, i], words[1, i], words[2, i], words[3, i] = c0, c1, c2, c3


@compiled
def fire(first, end, z, a, b, key0, key1, layer, sample, start, spikes, finite):  # type: ignore[no-untyped-def]
    """Rows first .. end - 1 of s = (r < clamp(a*z + b, 0, 1)), r drawn for steps start .. start + T - 1.

    z, spikes: (B * H, T), float32 or float64, row i of sample ``sample + i // H`` and neuron ``i % H``; a, b: (H,) in
    the same dtype. key0, key1, layer, sample, start: uint64. finite (B * H,): whether a*z + b is.
    """
    steps, width = z.shape[1], len(a)
    zero = a[0] * 0
    one = zero + 1
    scale = one * (1 << BITS)
    skipped = np.int64(start & np.uint64(3))
    words = np.empty((4, GROUPS), np.uint64)
    drawn = np.empty(skipped + steps + STEPS, z.dtype)
    for row in range(first, end):
        n = row % width
        for t in range(0, skipped + steps, STEPS):
            group = (start + np.uint64(t)) >> np.uint64(2)
            _draw(key0, key1, np.uint64(n), group, layer, sample + np.uint64(row // width), words)
            for i in range(GROUPS):
                for word in range(4):
                    drawn[t + 4 * i + word] = words[word, i] >> OUT
        a_n, b_n, x, fired, below = a[n], b[n], z[row], spikes[row], drawn[skipped:]
        bad = False
        for t in range(steps):
            drive = a_n * x[t] + b_n  # what clamps it changes no comparison with a draw
            bad |= drive - drive != zero
            fired[t] = one if below[t] < drive * scale else zero
        finite[row] = not bad
