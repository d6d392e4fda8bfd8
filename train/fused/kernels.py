"""S4D and its neuron over (B, L, H), W channels side by side in SIMD lanes, in segments that stay in the cache.

A segment is taken in blocks of T steps, which are columns of matrix products in every lane (train.fused.product):

    Z[i] = [state before block i | its inputs]     state before block i + 1 = carry * state before block i + enter Z[i]
    current of block i = leave Z[i]                 and then the neuron, step by step

Backward is the same walk from the last block to the first, and computes the states and the potentials of a segment
again from what forward kept of its start.

Tables, in lanes, for each tile of W channels:  ``leave`` (T, 2N + T): a block's outputs from Z;  ``enter`` (T, 2N): the
state that each of its inputs leaves;  ``carry`` (2N): Abar**T. Complex numbers are pairs of rows; N is even.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba.extending import register_jitable

from train.fused.product import ROWS, product
from train.neurons._kernels import DIGEST as NEURON
from train.neurons._kernels import aligned, compiled, spread, step_back, step_on
from train.neurons._lanes import LINE, W, bits, load, load_first, store, store_first

T = 16  # steps of a block
SEGMENT = 32 * T  # steps between two kept states, at most
SAMPLES = 8  # that one task computes one after another, at most
GROUPS = 4  # of samples, at least, for as many threads
# numba's cache on disk looks at this file only: the compiled code also depends on these.
DIGEST = NEURON + sha256(Path(__file__).with_name("product.py").read_bytes()).hexdigest()


def segment_length(steps: int) -> int:
    """Steps of a segment, a multiple of T: as equal as they can be."""
    segments = -(-steps // SEGMENT)
    return -(-steps // (segments * T)) * T


def group_size(batch: int) -> int:
    """Samples that one task computes one after another."""
    return min(SAMPLES, -(-batch // GROUPS))


@register_jitable
def currents(x, start, n, width, lanes, leave, enter, carry, modes, z, y):  # type: ignore[no-untyped-def]
    """Inputs, then states, then y (steps, W) of n steps from x[start], given the state in z[0]; returns the blocks."""
    column = (2 * modes + T) * W  # of z
    line = LINE // x.itemsize
    blocks = (n + T - 1) // T
    for i in range(blocks * T):
        to = i // T * column + (2 * modes + i % T) * W
        if i < n:
            store(z, to, load_first(x, start + i * width, lanes))
        else:
            z[to : to + W] = 0
    for lane in range(0, W, line):
        product(
            enter, lane, W, 2 * modes * W, z, lane + 2 * modes * W, W, column, z, lane + column, W, column,
            2 * modes, blocks, T, False,
        )  # fmt: skip
    for i in range(blocks):
        for m in range(0, 2 * modes * W, 2 * W):
            before, after = i * column + m, (i + 1) * column + m
            re, im = load(z, before), load(z, before + W)
            a_re, a_im = load(carry, m), load(carry, m + W)
            store(z, after, load(z, after) + (a_re * re - a_im * im))
            store(z, after + W, load(z, after + W) + (a_re * im + a_im * re))
    for lane in range(0, W, line):
        for j in range(0, T, ROWS):  # no step needs the inputs after it
            product(
                leave, lane + j * column, column, W, z, lane, W, column, y, lane + j * W, W, T * W,
                ROWS, blocks, 2 * modes + j + ROWS, False,
            )  # fmt: skip
    return blocks


@cache
def forward_kernel(kind: str) -> Callable[..., Any]:
    step = step_on(kind)
    digest = DIGEST

    def forward(  # type: ignore[no-untyped-def]
        first, end, x, steps, width, segment, each, leaves, enters, carries, tau_h, vth_h, tau_r_h, uth_h, spikes,
        words, kept, last, fired,
    ):  # fmt: skip
        digest  # noqa: B018
        batch = x.size // (steps * width)
        tiles = (width + W - 1) // W
        segments = (steps + segment - 1) // segment
        modes = carries.shape[1] // (2 * W)
        z = aligned((segment // T + 1) * (2 * modes + T) * W, x.dtype)
        y = aligned(segment * W, x.dtype)
        scratch = aligned(W, x.dtype)
        for task in range(first, end):
            tile, samples = task % tiles, task // tiles * each
            lanes = min(W, width - tile * W)
            rows = np.minimum(tile * W + np.arange(W), width - 1)
            leave, enter, carry = leaves[tile], enters[tile], carries[tile]
            tau, vth = spread(tau_h, rows, scratch), spread(vth_h, rows, scratch)
            tau_r, uth = spread(tau_r_h, rows, scratch), spread(uth_h, rows, scratch)
            count = tau * 0
            used = np.uint32((1 << lanes) - 1)
            for b in range(samples, min(samples + each, batch)):
                u, r = tau * 0, tau * 0
                z[: 2 * modes * W] = 0
                for number in range(segments):
                    keep = kept[(b * tiles + tile) * segments + number]
                    store(keep, 0, u)
                    store(keep, W, r)
                    keep[2 * W :] = z[: 2 * modes * W]
                    n = min(segment, steps - number * segment)
                    start = (b * steps + number * segment) * width + tile * W
                    blocks = currents(x, start, n, width, lanes, leave, enter, carry, modes, z, y)
                    end_state = blocks * (2 * modes + T) * W
                    z[: 2 * modes * W] = z[end_state : end_state + 2 * modes * W]
                    for i in range(n):
                        _, s, u, r = step(load(y, i * W), u, r, tau, vth, tau_r, uth)
                        if spikes.size:
                            store_first(spikes, start + i * width, lanes, s)
                        if words.size:
                            words[(b * steps + number * segment + i) * tiles + tile] = bits(s) & used
                        count = count + s
                store(last, (b * tiles + tile) * W, u)
            store(scratch, 0, count)
            fired[task] = scratch[:lanes].sum()

    return compiled(forward)


@cache
def backward_kernel(kind: str, surrogate: str, through_time: bool) -> Callable[..., Any]:
    step, back = step_on(kind), step_back(kind, surrogate, through_time)
    digest = DIGEST

    def backward(  # type: ignore[no-untyped-def]
        first, end, x, steps, width, segment, each, leaves, enters, carries, tau_h, vth_h, tau_r_h, uth_h, kept,
        grad, of_rate, beside, origin, grad_x, sums, grad_leaves, grad_enters, grad_carries,
    ):  # fmt: skip
        """``grad``, of the spikes, and ``beside``, of x by all else, begin with sample ``origin``."""
        digest  # noqa: B018
        batch = x.size // (steps * width)
        tiles = (width + W - 1) // W
        segments = (steps + segment - 1) // segment
        modes = carries.shape[1] // (2 * W)
        column = (2 * modes + T) * W
        z = aligned((segment // T + 1) * column, x.dtype)
        back_z = aligned((segment // T + 1) * column, x.dtype)  # of block i in i + 1: [state's gradient | current's]
        y = aligned(segment * W, x.dtype)  # currents, then potentials, then the gradients of the inputs
        resistances = aligned(segment * W, x.dtype)
        scratch = aligned(W, x.dtype)
        before, joined = origin * steps * width, beside.size > 0
        for task in range(first, end):
            tile, samples = task % tiles, task // tiles * each
            lanes = min(W, width - tile * W)
            rows = np.minimum(tile * W + np.arange(W), width - 1)
            leave, enter, carry = leaves[tile], enters[tile], carries[tile]
            grad_leave, grad_enter, grad_carry = grad_leaves[task], grad_enters[task], grad_carries[task]
            tau, vth = spread(tau_h, rows, scratch), spread(vth_h, rows, scratch)
            tau_r, uth = spread(tau_r_h, rows, scratch), spread(uth_h, rows, scratch)
            inverse, zero = 1.0 / vth, tau * 0
            for b in range(samples, min(samples + each, batch)):
                grad_u, grad_r, grad_v = zero, zero, zero  # of u[t], R[t+1] and u'[t+1] while at step t
                for number in range(segments - 1, -1, -1):
                    keep = kept[(b * tiles + tile) * segments + number]
                    u, r = load(keep, 0), load(keep, W)
                    z[: 2 * modes * W] = keep[2 * W :]
                    n = min(segment, steps - number * segment)
                    start = (b * steps + number * segment) * width + tile * W
                    blocks = currents(x, start, n, width, lanes, leave, enter, carry, modes, z, y)
                    for i in range(n):
                        store(resistances, i * W, r)
                        v, _, u, r = step(load(y, i * W), u, r, tau, vth, tau_r, uth)
                        store(y, i * W, v)
                    ends = blocks * column  # where the last block's gradients are
                    if number == segments - 1:
                        back_z[ends : ends + 2 * modes * W] = 0
                    else:
                        back_z[ends : ends + 2 * modes * W] = back_z[: 2 * modes * W]
                    sum_tau, sum_vth, sum_tau_r, sum_uth = zero, zero, zero, zero
                    for i in range(blocks * T - 1, -1, -1):
                        to = (i // T + 1) * column + (2 * modes + i % T) * W
                        if i >= n:
                            store(back_z, to, zero)
                            continue
                        of_spike = load_first(grad, start - before + i * width, lanes) + of_rate
                        grad_u, grad_r, grad_v, of_tau, of_vth, of_tau_r, of_uth = back(
                            of_spike, load(y, i * W), load(resistances, i * W),
                            grad_u, grad_r, grad_v, tau, vth, tau_r, uth, inverse,
                        )  # fmt: skip
                        sum_tau, sum_vth = sum_tau + of_tau, sum_vth + of_vth
                        sum_tau_r, sum_uth = sum_tau_r + of_tau_r, sum_uth + of_uth
                        store(back_z, to, grad_v)
                    for p, total in enumerate((sum_tau, sum_vth, sum_tau_r, sum_uth)):
                        store(scratch, 0, total)
                        for lane in range(W):
                            sums[p, task * W + lane] += scratch[lane]
                    gradients(
                        n, blocks, start, width, lanes, leave, enter, carry, modes, z, back_z, y,
                        grad_leave, grad_enter, grad_carry,
                    )  # fmt: skip
                    for i in range(n):
                        at = start + i * width
                        total = load(y, i * W)
                        if joined:
                            total = total + load_first(beside, at - before, lanes)
                        store_first(grad_x, at, lanes, total)

    return compiled(backward)


@register_jitable
def gradients(  # type: ignore[no-untyped-def]
    n, blocks, start, width, lanes, leave, enter, carry, modes, z, back_z, y, grad_leave, grad_enter, grad_carry
):
    """From the gradients of a segment's currents and of the state after it: of states, inputs (in y), and tables."""
    pair = 2 * modes * W
    column, line = pair + T * W, LINE // z.itemsize
    # a block's currents also give gradients to the state before it
    for lane in range(0, W, line):
        product(
            leave, lane, W, column, back_z, lane + column + pair, W, column, back_z, lane, W, column,
            2 * modes, blocks, T, False,
        )  # fmt: skip
    for i in range(blocks - 1, -1, -1):
        for m in range(0, pair, 2 * W):
            before, after = i * column + m, (i + 1) * column + m
            re, im = load(back_z, after), load(back_z, after + W)
            a_re, a_im = load(carry, m), load(carry, m + W)
            store(back_z, before, load(back_z, before) + (a_re * re + a_im * im))
            store(back_z, before + W, load(back_z, before + W) + (a_re * im - a_im * re))
            s_re, s_im = load(z, before), load(z, before + W)
            store(grad_carry, m, load(grad_carry, m) + (re * s_re + im * s_im))
            store(grad_carry, m + W, load(grad_carry, m + W) + (im * s_re - re * s_im))
    for lane in range(0, W, line):
        product(
            enter, lane, 2 * modes * W, W, back_z, lane + column, W, column, y, lane, W, T * W,
            T, blocks, 2 * modes, False,
        )  # fmt: skip
        for j in range(0, T, ROWS):
            # of the inputs: from the currents of this step and later ones, y[i] += sum_j leave[j, input i] grad[j]
            product(
                leave, lane + pair + j * (column + W), W, column, back_z, lane + column + pair + j * W, W, column,
                y, lane + j * W, W, T * W, ROWS, blocks, T - j, True,
            )  # fmt: skip
            # of the tables, summed over blocks
            product(
                back_z, lane + column + pair + j * W, W, column, z, lane, column, W,
                grad_leave, lane + j * column, column, W, ROWS, 2 * modes + j + ROWS, blocks, True,
            )  # fmt: skip
        product(
            z, lane + pair, W, column, back_z, lane + column, column, W, grad_enter, lane, 2 * modes * W, W,
            T, 2 * modes, blocks, True,
        )  # fmt: skip
