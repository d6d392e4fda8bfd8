"""The scan's kernels: a tile of W rows side by side in SIMD lanes, the state in registers, compiled by numba.

Forward keeps the state of every SEGMENT steps only. Backward recomputes the potentials of one segment at a time, from
the last to the first. Both do the eager loop's operations in its order; numba fuses no multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from train.neurons._lanes import (
    BLOCK,
    LINE,
    W,
    load,
    load_tile,
    store,
    store_spikes,
    store_tile,
    stream_spikes,
    stream_tile,
    where,
)
from train.neurons.surrogate import SURROGATES

SEGMENT = 256  # steps between two kept states, a multiple of BLOCK
# numba's cache on disk looks at this file only: the compiled code also depends on these.
SOURCES = sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("_lanes", "surrogate")))
DIGEST = SOURCES.hexdigest()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile to run beside other threads, with a cache on disk where a folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no place for the cache
        return njit(nogil=True)(function)


@register_jitable(forceinline=True)
def aligned(length, dtype):  # type: ignore[no-untyped-def]
    """At least ``length`` unset numbers, from the start of a cache line: no vector lies across two."""
    array = np.empty(length + LINE, dtype)
    return array[-array.ctypes.data % LINE // array.itemsize :]


@register_jitable(forceinline=True)
def read(array, starts, t, n, scratch, to):  # type: ignore[no-untyped-def]
    """Transpose steps t .. t+n of a tile's rows into scratch[to:]."""
    if n == BLOCK:
        load_tile(array, starts, t, scratch, to)
    else:
        for k in range(n):
            for r in range(W):
                scratch[to + k * W + r] = array[starts[r] + t + k]


@register_jitable(forceinline=True)
def write(array, starts, t, n, scratch, source, put):  # type: ignore[no-untyped-def]
    """Transpose scratch[source:] back into steps t .. t+n of a tile's rows; ``put`` writes a block."""
    if n == BLOCK:
        put(array, starts, t, scratch, source)
    else:
        for k in range(n):
            for r in range(W):
                array[starts[r] + t + k] = scratch[source + k * W + r]


@register_jitable(forceinline=True)
def spread(values, rows, scratch):  # type: ignore[no-untyped-def]
    """The parameter of each row of a tile, from (H,) values."""
    for r in range(W):
        scratch[r] = values[rows[r] % values.size]
    return load(scratch, 0)


@register_jitable(forceinline=True)
def reset(v, s, vth, hard, soft):  # type: ignore[no-untyped-def]
    """u after the spike: v*(1 - s), v - vth*s or v, written so that the new value doesn't wait for the comparison."""
    if hard:
        return where(s, v * 0, v)
    if soft:
        return where(s, v - vth, v)
    return v


@cache
def step_on(kind: str) -> Callable[..., Any]:
    """One step of the neuron from its input, u and R: (u', s, next u, next R)."""
    hard, soft, refractory = kind == "hard", kind != "refractory_only", kind.startswith("refractory")

    @register_jitable(forceinline=True)
    def step(x, u, r, tau, vth, tau_r, uth):  # type: ignore[no-untyped-def]
        v = tau * u + x
        if refractory:
            v = v - uth * r
        s = v >= vth
        if refractory:
            r = tau_r * r + s
        return v, s, reset(v, s, vth, hard, soft), r

    return step


@cache
def step_back(kind: str, surrogate_name: str, through_time: bool) -> Callable[..., Any]:
    """The same step backwards, from the gradients of s[t], u[t], R[t+1] and u'[t+1], and from u'[t] and R[t].

    Returns the gradients of u[t-1], R[t] and u'[t], and what the step adds to those of tau, vth, tau_r and uth.
    """
    hard, soft, refractory = kind == "hard", kind != "refractory_only", kind.startswith("refractory")
    surrogate = register_jitable(SURROGATES[surrogate_name])

    @register_jitable(forceinline=True)
    def step(grad_s, v, r, grad_u, grad_r, grad_v, tau, vth, tau_r, uth, inverse):  # type: ignore[no-untyped-def]
        zero = tau * 0
        s = v >= vth
        of_tau, of_vth, of_tau_r, of_uth = grad_v * reset(v, s, vth, hard, soft), zero, zero, zero
        if through_time:
            if refractory:
                grad_s = grad_s + grad_r
            if hard:
                grad_s = grad_s - grad_u * v
            elif soft:
                grad_s = grad_s - grad_u * vth
                of_vth = of_vth - grad_u * s
        by_spike = grad_s * (surrogate((v - vth) * inverse) * inverse)
        of_vth = of_vth - by_spike * (v * inverse)
        grad_v = by_spike
        if through_time:
            grad_v = (grad_u * (1 - s) if hard else grad_u) + by_spike
        if refractory:
            of_tau_r, of_uth = grad_r * r, zero - grad_v * r
            carried = tau_r * grad_r if through_time else zero
            grad_r = carried - grad_v * uth
        return tau * grad_v, grad_r, grad_v, of_tau, of_vth, of_tau_r, of_uth

    return step


@cache
def forward_kernel(kind: str, streaming: bool) -> Callable[..., Any]:
    step, refractory = step_on(kind), kind.startswith("refractory")
    put = stream_spikes if streaming else store_spikes  # chosen once, outside of the loop
    digest = DIGEST

    def forward(first, end, x, steps, tau_h, vth_h, tau_r_h, uth_h, spikes, kept_u, kept_r, last):  # type: ignore[no-untyped-def]
        digest  # noqa: B018
        rows = x.size // steps
        segments = (steps + SEGMENT - 1) // SEGMENT
        for tile in range(first, end):
            scratch = aligned(BLOCK * W, x.dtype)
            row = np.minimum(tile * W + np.arange(W), rows - 1)  # the last tile repeats its last row
            starts = row * steps
            tau, vth = spread(tau_h, row, scratch), spread(vth_h, row, scratch)
            tau_r, uth = spread(tau_r_h, row, scratch), spread(uth_h, row, scratch)
            u, r = tau * 0, tau * 0
            for t in range(0, steps, BLOCK):
                if t % SEGMENT == 0:
                    at = (tile * segments + t // SEGMENT) * W
                    store(kept_u, at, u)
                    if refractory:
                        store(kept_r, at, r)
                n = min(BLOCK, steps - t)
                read(x, starts, t, n, scratch, 0)
                spiked, bit = tau * 0, tau * 0 + 1
                for k in range(0, n * W, W):
                    _, s, u, r = step(load(scratch, k), u, r, tau, vth, tau_r, uth)
                    spiked = where(s, spiked + bit, spiked)
                    bit = bit + bit
                if n == BLOCK:  # here, not in a function: its reference counts are atomic and wait for streamed stores
                    put(spikes, starts, t, spiked)
                else:
                    store(scratch, 0, spiked)
                    for i in range(W):
                        for k in range(n):
                            spikes[starts[i] + t + k] = np.int64(scratch[i]) >> k & 1
            store(last, tile * W, u)

    return compiled(forward)


@cache
def backward_kernel(kind: str, surrogate_name: str, through_time: bool, streaming: bool) -> Callable[..., Any]:
    step, back = step_on(kind), step_back(kind, surrogate_name, through_time)
    refractory = kind.startswith("refractory")
    put = stream_tile if streaming else store_tile
    digest = DIGEST

    def backward(first, end, x, steps, tau_h, vth_h, tau_r_h, uth_h, kept_u, kept_r, grad, grad_x, sums):  # type: ignore[no-untyped-def]
        digest  # noqa: B018
        rows = x.size // steps
        segments = (steps + SEGMENT - 1) // SEGMENT
        for tile in range(first, end):
            scratch = aligned(BLOCK * W, x.dtype)
            potentials = aligned(SEGMENT * W, x.dtype)
            resistances = aligned(SEGMENT * W if refractory else 1, x.dtype)
            row = np.minimum(tile * W + np.arange(W), rows - 1)
            starts = row * steps
            tau, vth = spread(tau_h, row, scratch), spread(vth_h, row, scratch)
            tau_r, uth = spread(tau_r_h, row, scratch), spread(uth_h, row, scratch)
            inverse = 1.0 / vth
            zero = tau * 0
            grad_u, grad_r, grad_v = zero, zero, zero  # of u[t], R[t+1] and u'[t+1] while at step t
            for segment in range(segments - 1, -1, -1):
                begin = segment * SEGMENT
                stop = min(begin + SEGMENT, steps)
                u = load(kept_u, (tile * segments + segment) * W)
                r = load(kept_r, (tile * segments + segment) * W) if refractory else zero
                for t in range(begin, stop, BLOCK):
                    n = min(BLOCK, stop - t)
                    read(x, starts, t, n, potentials, (t - begin) * W)
                    for k in range((t - begin) * W, (t - begin + n) * W, W):
                        if refractory:
                            store(resistances, k, r)
                        v, _, u, r = step(load(potentials, k), u, r, tau, vth, tau_r, uth)
                        store(potentials, k, v)
                sum_tau, sum_vth, sum_tau_r, sum_uth = zero, zero, zero, zero
                for t in range((stop - 1) // BLOCK * BLOCK, begin - 1, -BLOCK):
                    n = min(BLOCK, stop - t)
                    read(grad, starts, t, n, scratch, 0)
                    for j in range(n - 1, -1, -1):
                        k = (t - begin + j) * W
                        r = load(resistances, k) if refractory else zero
                        grad_u, grad_r, grad_v, of_tau, of_vth, of_tau_r, of_uth = back(
                            load(scratch, j * W), load(potentials, k), r, grad_u, grad_r, grad_v,
                            tau, vth, tau_r, uth, inverse,
                        )  # fmt: skip
                        sum_tau, sum_vth = sum_tau + of_tau, sum_vth + of_vth
                        sum_tau_r, sum_uth = sum_tau_r + of_tau_r, sum_uth + of_uth
                        store(scratch, j * W, grad_v)
                    write(grad_x, starts, t, n, scratch, 0, put)
                for p, total in enumerate((sum_tau, sum_vth, sum_tau_r, sum_uth)):
                    store(scratch, 0, total)
                    for lane in range(W):
                        sums[p, tile * W + lane] += scratch[lane]

    return compiled(backward)
