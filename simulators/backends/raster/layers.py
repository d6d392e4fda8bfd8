"""One operation over many steps: a compiled loop where there is one, else its own ``over``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from simulators.backends.raster import kernels
from spikestrip.operations import (
    LIF,
    S4D,
    FixedLIF,
    FixedReadout,
    FixedS4D,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    State,
)
from spikestrip.operations.fixed import kernels as integers


def over(operation: Operation, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    """``operation``, bound to the run's dtype, over x (T, B, *shape): (next state, output), bits as by its ``step``."""
    compiled = TABLE.get(type(operation))
    return operation.over(np, state, x) if compiled is None else compiled(operation, state, x)


def _flat(operation: Operation, array: np.ndarray | None, missing: float, like: np.ndarray) -> np.ndarray:
    return np.full(math.prod(like.shape[2:]), missing, like.dtype) if array is None else np.ravel(array)


def _lif(operation: LIF, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    u, spikes = state["u"].reshape(flat.shape[1:]).copy(), np.empty_like(flat)
    kernels.lif(
        flat, u, np.ravel(operation.decay), np.ravel(operation.threshold), _flat(operation, operation.gain, 1, x),
        _flat(operation, operation.bias, 0, x), _flat(operation, operation.v_reset, 0, x),
        operation.reset_kind == "soft", operation.comparison == "gt", spikes,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:])}, spikes.reshape(x.shape)


def _refractory(operation: RefractoryLIF, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    u, r = (state[name].reshape(flat.shape[1:]).copy() for name in ("u", "r"))
    spikes = np.empty_like(flat)
    kernels.refractory(
        flat, u, r, np.ravel(operation.decay), np.ravel(operation.threshold), np.ravel(operation.decay_r),
        np.ravel(operation.inhibition), operation.soft, spikes,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:]), "r": r.reshape(x.shape[1:])}, spikes.reshape(x.shape)


def _leaky(operation: LeakyIntegrator, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    u, y = state["u"].reshape(flat.shape[1:]).copy(), np.empty_like(flat)
    kernels.leaky(
        flat, u, np.ravel(operation.decay), _flat(operation, operation.gain, 1, x),
        _flat(operation, operation.bias, 0, x), y,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:])}, y.reshape(x.shape)


def _s4d(operation: S4D, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    modes = operation.a_re.shape[0]
    padding = (1 << (modes - 1).bit_length()) - modes  # the halving-tree sum pads with zeros too

    def padded(array: np.ndarray, axis: int = 0) -> np.ndarray:
        width = [(0, padding if number == axis else 0) for number in range(array.ndim)]
        return np.pad(array, width)

    re, im, y = padded(state["re"], 1), padded(state["im"], 1), np.empty_like(x)
    kernels.s4d(
        x, re, im, padded(operation.a_re), padded(operation.a_im), padded(operation.b_re), padded(operation.b_im),
        padded(2 * operation.c_re), padded(2 * operation.c_im), operation.d, y,
    )  # fmt: skip
    return {"re": re[:, :modes], "im": im[:, :modes]}, y


def _fixed_s4d(operation: FixedS4D, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    re, im, y = state["re"].copy(), state["im"].copy(), np.empty_like(x)
    integers.s4d(x, re, im, *operation.scaled(), float(operation.rounding), y)
    return {"re": re, "im": im}, y


def _fixed_lif(operation: FixedLIF, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    v, spikes = state["v"].reshape(flat.shape[1:]).copy(), np.empty_like(flat)
    integers.lif(flat, v, *operation.constants(flat.shape[-1]), spikes, np.empty((0, 0, 0)))
    return {"v": v.reshape(x.shape[1:])}, spikes.reshape(x.shape)


def _fixed_readout(operation: FixedReadout, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    total = state["sigma"] + np.cumsum(x, axis=0)  # whole numbers: in any order
    return {"sigma": total[-1]}, total


TABLE: dict[type[Operation], Callable[[Any, State, np.ndarray], tuple[State, np.ndarray]]] = {
    S4D: _s4d,
    LIF: _lif,
    RefractoryLIF: _refractory,
    LeakyIntegrator: _leaky,
    FixedS4D: _fixed_s4d,
    FixedLIF: _fixed_lif,
    FixedReadout: _fixed_readout,
}
