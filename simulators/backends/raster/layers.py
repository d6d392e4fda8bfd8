"""One operation over many steps: a compiled loop where there is one, else its own ``over``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from simulators.backends.raster import kernels, ssm
from spikestrip.operations import LIF, S4D, LeakyIntegrator, Operation, RefractoryLIF, State


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


TABLE: dict[type[Operation], Callable[[Any, State, np.ndarray], tuple[State, np.ndarray]]] = {
    S4D: ssm.over,
    LIF: _lif,
    RefractoryLIF: _refractory,
    LeakyIntegrator: _leaky,
}
