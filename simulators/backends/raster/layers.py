"""One layer over many steps: a compiled loop where there is one, else its operation's own ``over``.

Of a neuron there is a second form, ``clamped``: the spikes are given, and what it would have decided is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from simulators.backends.raster import kernels, synapses
from simulators.backends.raster.ssm import Modes
from spikestrip.compiled_draws import fire
from spikestrip.draws import words_of
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    Bernoulli,
    FixedLIF,
    FixedReadout,
    FixedS4D,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    State,
)
from spikestrip.operations.bernoulli import LAP
from spikestrip.operations.fixed import looped

Seen = tuple[np.ndarray, ...]
"""u' and the states that a step found, (T, B, N) each, written by a loop that is clamped."""


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


def _lif(operation: LIF, state: State, x: np.ndarray, spikes: np.ndarray, seen: Seen | None = None) -> State:
    flat = x.reshape(*x.shape[:2], -1)
    u = state["u"].reshape(flat.shape[1:]).copy()
    kernels.lif(
        flat, u, np.ravel(operation.decay), np.ravel(operation.threshold), _flat(operation, operation.gain, 1, x),
        _flat(operation, operation.bias, 0, x), _flat(operation, operation.v_reset, 0, x),
        operation.reset_kind == "soft", operation.comparison == "gt", spikes, seen,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:])}


def _refractory(
    operation: RefractoryLIF, state: State, x: np.ndarray, spikes: np.ndarray, seen: Seen | None = None
) -> State:
    flat = x.reshape(*x.shape[:2], -1)
    u, r = (state[name].reshape(flat.shape[1:]).copy() for name in ("u", "r"))
    kernels.refractory(
        flat, u, r, np.ravel(operation.decay), np.ravel(operation.threshold), np.ravel(operation.decay_r),
        np.ravel(operation.inhibition), operation.soft, spikes, seen,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:]), "r": r.reshape(x.shape[1:])}


NEURONS: dict[type[Operation], Callable[..., State]] = {LIF: _lif, RefractoryLIF: _refractory}


def _fired(operation: Operation, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    spikes = np.empty((*x.shape[:2], math.prod(x.shape[2:])), x.dtype)
    return NEURONS[type(operation)](operation, state, x, spikes), spikes.reshape(x.shape)


def clamped(operation: Operation, state: State, x: np.ndarray, spikes: np.ndarray) -> tuple[State, np.ndarray, State]:
    """One of ``NEURONS``, bound to the run's dtype, over x (T, B, *shape) while ``spikes`` (T, B, *shape) reset it.

    Returns the next state; u' (T, B, *shape); and the state that every step found, (T, B, *shape) each.
    """
    flat = (*x.shape[:2], math.prod(x.shape[2:]))
    seen = tuple(np.empty(flat, x.dtype) for _ in range(1 + len(state)))
    after = NEURONS[type(operation)](operation, state, x, spikes.reshape(flat), seen)
    potential, *found = (values.reshape(x.shape) for values in seen)
    return after, potential, dict(zip(state, found, strict=True))


def _leaky(operation: LeakyIntegrator, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    u, y = state["u"].reshape(flat.shape[1:]).copy(), np.empty_like(flat)
    kernels.leaky(
        flat, u, np.ravel(operation.decay), _flat(operation, operation.gain, 1, x),
        _flat(operation, operation.bias, 0, x), y,
    )  # fmt: skip
    return {"u": u.reshape(x.shape[1:])}, y.reshape(x.shape)


def _bernoulli(operation: Bernoulli, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    if not np.isfinite(state["step"]).all():
        return operation.over(np, state, x)
    start = int(state["step"].flat[0]) + LAP * int(state["lap"].flat[0])  # all elements count the same
    z = np.ascontiguousarray(np.moveaxis(x, 0, -1)).reshape(-1, len(x))
    spikes, finite = np.empty_like(z), np.empty(len(z), bool)
    counters = (*words_of(operation.seed), operation.layer, operation.first_sample, start)
    fire(0, len(z), z, operation.a, operation.b, *map(np.uint64, counters), spikes, finite)
    lap, step = divmod(start + len(x), LAP)
    after = np.where(finite, x.dtype.type(step), np.nan).astype(x.dtype).reshape(x.shape[1:])
    fired = np.moveaxis(spikes.reshape(*x.shape[1:], len(x)), -1, 0)
    return {"step": after, "lap": np.full_like(after, lap)}, np.ascontiguousarray(fired)


TABLE: dict[type[Operation], Callable[[Any, State, np.ndarray], tuple[State, np.ndarray]]] = {
    LIF: _fired,
    RefractoryLIF: _fired,
    LeakyIntegrator: _leaky,
    Bernoulli: _bernoulli,
    FixedS4D: looped.s4d,
    FixedLIF: looped.lif,
    FixedReadout: looped.readout,
}
