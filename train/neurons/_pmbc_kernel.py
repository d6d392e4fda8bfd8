"""PMBC's kernel: a tile of W rows in SIMD lanes, its input and two iterates in cache, one pass an iteration.

A pass runs the neuron with the spikes of the iterate before in the place of its own, in the loop's operations and
order. Whatever came before the first step on which two iterates differ is settled: the next pass starts there, from
the state that was kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from train.neurons._kernels import DIGEST, aligned, compiled, read, spread, write
from train.neurons._lanes import BLOCK, W, load, store, store_tile, where

PAYS = 0.5  # converged: another pass if the last one left at most this share of the undecided steps undecided


@register_jitable
def total(lanes, own):  # type: ignore[no-untyped-def]
    """The sum of the first ``own`` counts, as an integer."""
    result = 0
    for lane in range(own):
        result += int(lanes[lane])
    return result


@cache
def pmbc_kernel(kind: str) -> Callable[..., Any]:
    soft, refractory = kind != "refractory_only", kind.startswith("refractory")
    digest = DIGEST

    def pmbc(first, end, x, steps, tau_h, vth_h, tau_r_h, uth_h, spikes, limit, counts):  # type: ignore[no-untyped-def]
        # counts (tiles, 5): iterations, steps undecided, rows with such steps, spikes unlike the loop's, overflow
        digest  # noqa: B018
        rows = x.size // steps
        for tile in range(first, end):
            scratch = aligned(BLOCK * W, x.dtype)
            current = aligned((steps + BLOCK) * W, x.dtype)
            lower, upper = aligned((steps + BLOCK) * W, x.dtype), aligned((steps + BLOCK) * W, x.dtype)
            lower[:] = 0
            row = np.minimum(tile * W + np.arange(W), rows - 1)
            own = min(W, rows - tile * W)  # the last tile repeats its last row
            starts = row * steps
            tau, vth = spread(tau_h, row, scratch), spread(vth_h, row, scratch)
            tau_r, uth = spread(tau_r_h, row, scratch), spread(uth_h, row, scratch)
            zero = tau * 0
            for t in range(0, steps, BLOCK):
                read(x, starts, t, min(BLOCK, steps - t), current, t * W)
            begin, begin_u, begin_r = 0, zero, zero
            before, count, left = 2 * steps * W, 0, 0
            u = zero
            while True:
                count += 1
                old, new = (lower, upper) if count % 2 else (upper, lower)
                u, r, open_steps = begin_u, begin_r, zero
                found = False
                for t in range(begin, steps, BLOCK):
                    u_here, r_here, differing = u, r, zero
                    for k in range(t * W, min(t + BLOCK, steps) * W, W):
                        v = tau * u + load(current, k)
                        if refractory:
                            v = v - uth * r
                        given = load(old, k)
                        s = v >= vth
                        u = where(given, v - vth, v) if soft else v
                        if refractory:
                            r = tau_r * r + given
                        differing = differing + where(s, 1 - given, given)
                        store(new, k, s)
                    open_steps = open_steps + differing
                    if not found:
                        store(scratch, 0, differing)
                        if scratch[:W].max() > 0:
                            found = True
                            begin, begin_u, begin_r = t, u_here, r_here
                store(scratch, 0, open_steps)
                left = total(scratch, own)
                if left == 0 or count == limit or (limit == 0 and left > PAYS * before):
                    break
                before = left
            counts[tile, 0] = count
            counts[tile, 1] = left
            if left > 0:
                for lane in range(own):
                    counts[tile, 2] += scratch[lane] > 0
                u, r, wrong = begin_u, begin_r, zero
                for k in range(begin * W, steps * W, W):  # the neuron itself, on what is open
                    v = tau * u + load(current, k)
                    if refractory:
                        v = v - uth * r
                    s = v >= vth
                    u = where(s, v - vth, v) if soft else v
                    if refractory:
                        r = tau_r * r + s
                    found_spike = load(lower, k)
                    wrong = wrong + where(s, 1 - found_spike, found_spike)
                    if limit == 0:
                        store(lower, k, s)
                if limit > 0:
                    store(scratch, 0, wrong)
                    counts[tile, 3] = total(scratch, own)
            store(scratch, 0, u)  # the loop's own last potential
            counts[tile, 4] = not np.isfinite(scratch[:own]).all()
            for t in range(0, steps, BLOCK):
                write(spikes, starts, t, min(BLOCK, steps - t), lower, t * W, store_tile)

    return compiled(pmbc)
