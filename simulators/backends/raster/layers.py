"""One layer over many steps: a compiled loop where there is one, else its operation's own ``over``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from simulators.backends.raster import kernels, synapses
from simulators.backends.raster.ssm import Modes
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    FixedLIF,
    FixedReadout,
    FixedS4D,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    State,
)
from spikestrip.operations.fixed import looped


class Running(Protocol):
    """A layer in the midst of a run: x (T, B, *shape) -> output (T, B, *shape), bits as by its operation's ``step``."""

    @property
    def state(self) -> State: ...

    def __call__(self, x: np.ndarray) -> np.ndarray: ...


def running(operation: Operation, state: State, batch: int, binary: bool) -> Running:
    """``operation``, bound to the run's dtype, from ``state`` on; ``binary`` where nothing but spikes enters it."""
    if isinstance(operation, S4D):
        return Modes(operation, state)
    if isinstance(operation, Affine) and synapses.by_sums(operation, batch, binary):
        return _Function(operation, state, _sums)
    return _Function(operation, state, TABLE.get(type(operation), lambda operation, *given: operation.over(np, *given)))


class _Function:
    def __init__(self, operation: Operation, state: State, over: Callable[..., tuple[State, np.ndarray]]) -> None:
        self.operation, self.state, self.over = operation, state, over

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.state, y = self.over(self.operation, self.state, x)
        return y


def _sums(operation: Affine, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    return state, synapses.over(operation, x)


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
    LIF: _lif,
    RefractoryLIF: _refractory,
    LeakyIntegrator: _leaky,
    FixedS4D: looped.s4d,
    FixedLIF: looped.lif,
    FixedReadout: looped.readout,
}
