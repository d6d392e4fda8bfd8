"""S4D over many steps, to the bit of its ``step``: channels in SIMD lanes, the states of two modes in registers.

A tile of L channels, a cache line, goes through all steps for modes m and m + M/2, whose terms are the first level of
the halving-tree sum; the other levels add what is kept of every step. Tables and states in lanes:

    table  (tiles, M/2, 2, 6, L)     of each mode a_re, a_im, b_re, b_im, 2*c_re, 2*c_im
    state  (tiles, B, M/2, 2, 2, L)  of each mode re, im
"""

from __future__ import annotations

import numpy as np

from simulators.backends.raster.kernels import compiled
from spikestrip.operations import S4D, State
from train.neurons._kernels import DIGEST, aligned
from train.neurons._lanes import LINE, load_line, store


class Modes:
    """``operation``, bound to the run's dtype, with its ``state``: both stay in lanes throughout a run."""

    def __init__(self, operation: S4D, state: State) -> None:
        dtype, modes = state["re"].dtype, operation.a_re.shape[0]
        padding = max(2, 1 << (modes - 1).bit_length()) - modes  # zeros, as the halving-tree sum's
        if modes == 1:  # one term is not added to 0, which would turn -0 into 0, but to -0
            real_part = np.concatenate((2 * operation.c_re, np.full_like(operation.c_re, -0.0)))
        else:
            real_part = _padded(2 * operation.c_re, 0, padding)
        rows = (operation.a_re, operation.a_im, operation.b_re, operation.b_im, real_part, 2 * operation.c_im)
        self._table = _in_lanes(np.stack([_padded(row, 0, modes + padding - len(row)) for row in rows]), dtype)
        self._lanes = _in_lanes(_padded(np.stack((state["re"], state["im"]), 1), 2, padding), dtype)
        self._skip = _padded(operation.d, 0, -operation.d.size % (LINE // dtype.itemsize))
        self._shape = operation.a_re.shape

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x (T, B, H) -> y (T, B, H); the state goes on."""
        y = np.empty_like(x)
        flat = (array.reshape(-1) for array in (x, self._lanes, self._table))
        _kernel(*flat, self._skip, y.reshape(-1), x.shape, 2 * self._lanes.shape[2])
        return y

    @property
    def state(self) -> State:
        modes, width = self._shape
        tiles, batch, half, _, _, count = self._lanes.shape
        whole = self._lanes.transpose(4, 1, 3, 2, 0, 5).reshape(2, batch, 2 * half, tiles * count)
        re, im = whole[:, :, :modes, :width].copy()  # the lanes change in place
        return {"re": re, "im": im}


def _padded(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    return np.pad(array, [(0, count if number == axis else 0) for number in range(array.ndim)]) if count else array


def _in_lanes(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(..., P, M, H) -> (tiles, ..., M/2, 2, P, L): mode m beside mode m + M/2."""
    lanes = LINE // dtype.itemsize
    array = _padded(array, array.ndim - 1, -array.shape[-1] % lanes)
    *before, parts, modes, width = array.shape
    cut = array.reshape(*before, parts, 2, modes // 2, width // lanes, lanes)
    first = len(before)
    order = (first + 3, *range(first), first + 2, first + 1, first, first + 4)
    return np.ascontiguousarray(cut.transpose(order), dtype)


@compiled
def _kernel(x, state, table, skip, y, shape, modes):  # type: ignore[no-untyped-def]
    """S4D.step over x (T, B, H) = shape; arrays are flat, ``state`` changes in place and y (T, B, H) is written."""
    DIGEST  # noqa: B018 - numba's cache on disk looks at this file only
    steps, batch, width = shape
    lanes = LINE // x.itemsize
    half = modes // 2
    u = aligned(steps * lanes, x.dtype)
    terms = aligned(half * steps * lanes, x.dtype)
    for tile in range((width + lanes - 1) // lanes):
        first = tile * lanes
        here = min(lanes, width - first)
        d = load_line(skip, first)
        for b in range(batch):
            u[:] = 0
            for t in range(steps):
                at = (t * batch + b) * width + first
                if here == lanes:
                    store(u, t * lanes, load_line(x, at))
                else:
                    u[t * lanes : t * lanes + here] = x[at : at + here]
            for m in range(half):
                p = (tile * half + m) * 12 * lanes
                a_re, a_im = load_line(table, p), load_line(table, p + lanes)
                b_re, b_im = load_line(table, p + 2 * lanes), load_line(table, p + 3 * lanes)
                c_re, c_im = load_line(table, p + 4 * lanes), load_line(table, p + 5 * lanes)
                p += 6 * lanes
                a_re_2, a_im_2 = load_line(table, p), load_line(table, p + lanes)
                b_re_2, b_im_2 = load_line(table, p + 2 * lanes), load_line(table, p + 3 * lanes)
                c_re_2, c_im_2 = load_line(table, p + 4 * lanes), load_line(table, p + 5 * lanes)
                s = ((tile * batch + b) * half + m) * 4 * lanes
                re, im = load_line(state, s), load_line(state, s + lanes)
                re_2, im_2 = load_line(state, s + 2 * lanes), load_line(state, s + 3 * lanes)
                for t in range(steps):
                    v = load_line(u, t * lanes)
                    before = re
                    re = a_re * before + (b_re * v - a_im * im)
                    im = a_re * im + (b_im * v + a_im * before)
                    before = re_2
                    re_2 = a_re_2 * before + (b_re_2 * v - a_im_2 * im_2)
                    im_2 = a_re_2 * im_2 + (b_im_2 * v + a_im_2 * before)
                    term = (c_re * re - c_im * im) + (c_re_2 * re_2 - c_im_2 * im_2)
                    store(terms, (m * steps + t) * lanes, term)
                store(state, s, re)
                store(state, s + lanes, im)
                store(state, s + 2 * lanes, re_2)
                store(state, s + 3 * lanes, im_2)
            left = half // 2
            while left:
                for i in range(0, left * steps * lanes, lanes):
                    store(terms, i, load_line(terms, i) + load_line(terms, i + left * steps * lanes))
                left //= 2
            for t in range(steps):
                at = (t * batch + b) * width + first
                found = load_line(terms, t * lanes) + d * load_line(u, t * lanes)
                if here == lanes:
                    store(y, at, found)
                else:
                    store(terms, t * lanes, found)
                    y[at : at + here] = terms[t * lanes : t * lanes + here]
