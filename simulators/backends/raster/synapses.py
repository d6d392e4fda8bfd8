"""Weights reached by spikes: the sum of the columns that are reached, where it has the bits of the matrix product."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulators.backends.raster.kernels import compiled
from spikestrip.operations import Affine
from train.neurons._kernels import DIGEST, aligned
from train.neurons._lanes import LINE, load_line, store

PROBED = 8192  # sums that are tried


def _exact(weight: np.ndarray) -> bool:
    """Whether all sums of weights (out, in) of one output are exact in their dtype, whatever the order.

    They are if the weights are whole multiples of some 2**q and all together at most 2**(q + digits of the mantissa).
    float32 weights in float64 nearly always are: 29 bits are left for their range and their number.
    """
    digits = np.finfo(weight.dtype).nmant + 1
    q = np.frexp(np.abs(weight).sum(axis=1))[1] - digits  # were this sum rounded, its terms would be no multiples
    scaled = np.ldexp(weight, -q[:, None])
    return bool((np.isfinite(scaled) & (scaled == np.rint(scaled))).all())


def by_sums(operation: Affine, batch: int, binary: bool) -> bool:
    """Whether ``over`` has the bits of the operation's step on a batch: one product a sum, or spikes whose sums are
    all exact, or in the step's order.

    The order in which a matrix product adds depends on its shape and on the library, not on the numbers.
    """
    weight = operation.weight
    if weight.shape[1] == 1:
        return True
    return binary and (_exact(weight) or _in_order(batch, *weight.shape, str(weight.dtype)))


@lru_cache(maxsize=256)
def _in_order(batch: int, outputs: int, inputs: int, dtype: str) -> bool:
    """Whether a step's product on spikes (batch, inputs) adds its terms from the first to the last, as ``over`` does.

    Tried on random weights and spikes, thousands of sums: any other order rounds many of them differently.
    """
    rng = np.random.default_rng(0)
    for _ in range(max(4, PROBED // (batch * outputs))):
        probe = Affine(rng.normal(size=(outputs, inputs)).astype(dtype))
        spikes = (rng.random((1, batch, inputs)) < rng.uniform(0.3, 1)).astype(dtype)
        if not np.array_equal(probe.over(np, {}, spikes)[1], over(probe, spikes)):
            return False
    return True


def over(operation: Affine, x: np.ndarray) -> np.ndarray:
    """``operation``, bound to the dtype of x (T, B, *shape, in), which holds 0 and 1 where in > 1."""
    outputs, inputs = operation.weight.shape
    lanes = LINE // x.itemsize
    columns = np.zeros((inputs, outputs + -outputs % lanes), x.dtype)
    columns[:, :outputs] = operation.weight.T
    y = np.empty((*x.shape[:-1], outputs), x.dtype)
    bias = np.zeros(columns.shape[1], x.dtype)
    if operation.bias is not None:
        bias[:outputs] = operation.bias
    _kernel(np.ravel(x), columns.reshape(-1), bias, y.reshape(-1), inputs, outputs)
    return y


@compiled
def _kernel(x, columns, bias, y, inputs, outputs):  # type: ignore[no-untyped-def]
    """y[r] = sum of x[r, i] * columns[i] over i with x[r, i] != 0, and then bias; arrays are flat."""
    DIGEST  # noqa: B018 - numba's cache on disk looks at this file only
    lanes = LINE // x.itemsize
    width = bias.size
    reached = np.empty(inputs, np.int64)  # where their columns start
    scratch = aligned(lanes, x.dtype)
    none = load_line(bias, 0) * 0
    for row in range(x.size // inputs):
        count = 0
        for i in range(inputs):
            reached[count] = i * width
            count += x[row * inputs + i] != 0
        for first in range(0, width, lanes):
            if inputs == 1:
                total = none + load_line(columns, first) * x[row]  # + 0: a product's sum begins with 0
            else:
                total = none
                for k in range(count):
                    total = total + load_line(columns, reached[k] + first)
            total = total + load_line(bias, first)
            if first + lanes <= outputs:
                store(y, row * outputs + first, total)
            else:
                store(scratch, 0, total)
                y[row * outputs + first : (row + 1) * outputs] = scratch[: outputs - first]
