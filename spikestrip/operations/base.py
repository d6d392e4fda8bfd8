"""What an operation is: its parameters, its state, one step of its equation, and what the step costs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

from spikestrip.errors import BadInput

Array = Any  # numpy.ndarray or torch.Tensor: the equations are written once for both
State = dict[str, Array]
Shape = tuple[int, ...]

COUNTERS = ("spikes", "synaptic_acs", "effective_macs", "dense_macs", "state_macs", "state_updates")


@dataclasses.dataclass(eq=False)
class Operation:
    """One node of a program. Subclasses are dataclasses whose array fields are the parameters.

    Arrays have no batch axis. Weights are float32, derived constants float64; ``bind`` casts them
    to the dtype of a run.
    A step sees arrays of shape (B, *shape) and never changes them in place.
    """

    kind: ClassVar[str]
    """The name in NIR metadata, in tables and in error messages."""
    spiking: ClassVar[bool] = False
    """True when the output is 0 or 1 in every step."""
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    """The dtypes that can hold the operation exactly."""
    counts_values: ClassVar[bool] = True
    """False when ``count`` needs nothing of its input but the shape, so that the ledger need not compute it."""
    rowwise: ClassVar[bool] = False
    """True when there is no state and a sample's arithmetic is the same, to the bit, whatever samples stand beside."""

    keeps_spikes: ClassVar[bool] = False
    """True where the output is 0 or 1 whenever the input is."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters that are arrays, by field name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def attributes(self) -> dict[str, str | int | float | bool]:
        """The parameters that are plain values, by field name (None is left out)."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}

    def bind(self, convert: Callable[[np.ndarray], Array]) -> Self:
        """A copy whose arrays went through ``convert`` (to another dtype, library or device)."""
        bound = copy.copy(self)
        for name, value in self.arrays().items():
            setattr(bound, name, convert(value))
        return bound

    def at_sample(self, first: int) -> Self:
        """The operation for a part of a batch that begins ``first`` samples later; itself where nothing is drawn."""
        return self

    def drawn_from(self) -> int | None:
        """The seed of what the operation draws, or None when it draws nothing."""
        return None

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output step for inputs of ``shape``. Raises BadInput(kind, ...) if it does not fit."""
        raise NotImplementedError

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Name and shape of every state variable for inputs of ``shape``. All start at zero."""
        return {}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        """One step: (state, input) -> (next state, output). ``xp`` is numpy or an array-API namespace of torch."""
        raise NotImplementedError

    def over(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        """Many steps, time first: (state, x (T, B, *shape)) -> (next state, output (T, B, *shape)), bits as by step."""
        if self.rowwise:
            _, y = self.step(xp, {}, xp.reshape(x, (-1, *x.shape[2:])))
            return state, xp.reshape(y, (*x.shape[:2], *y.shape[1:]))
        outputs = []
        for t in range(x.shape[0]):
            state, y = self.step(xp, state, x[t])
            outputs.append(y)
        return state, xp.stack(outputs)

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        """Events of one step for the summed input ``x`` (B, *shape): per counter a (B,) int64 array or one number.

        ``binary`` says that ``x`` is one stream of spikes, so that what reaches a weight is an event, not a product.
        Counters that are left out are 0; ``spikes`` is counted by the ledger from the output.
        """
        return {}

    def _fit(self, shape: Shape, expected: Shape) -> None:
        if tuple(shape) != tuple(expected):
            raise BadInput(self.kind, f"takes inputs of shape {tuple(expected)}, not {tuple(shape)}")


@dataclasses.dataclass(eq=False)
class SpikingOperation(Operation):
    """A neuron: integrate, fire, reset. The three are apart so that a verifier can look at u' between them."""

    spiking: ClassVar[bool] = True

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        """u'[t], the membrane potential before reset."""
        raise NotImplementedError

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        """The signed distance of u'[t] to firing, given the state before the step: it fires where this is >= 0.

        Where the neuron fires only above its threshold (``comparison`` "gt") it fires where this is > 0. IEEE
        subtraction with subnormals has the right sign, so that this agrees with ``fire`` at every value, ties included.
        """
        raise NotImplementedError

    def fire(self, state: State, potential: Array) -> Array:
        """s[t] as booleans, given the state before the step and u'[t]."""
        raise NotImplementedError

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        """The state after the step, given u'[t] and s[t] (0 or 1, in the dtype of the potential)."""
        raise NotImplementedError

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        potential = self.integrate(xp, state, x)
        spikes = xp.astype(self.fire(state, potential), x.dtype)
        return self.reset(xp, state, potential, spikes), spikes


def reached(x: np.ndarray, weights: np.ndarray | int, binary: bool = False) -> np.ndarray:
    """For each sample of x (B, *shape) the sum of ``weights`` over the values that aren't 0: (B,) int64.

    weights: integers >= 0, of the last axis, or one for all. ``binary``: all values are 0 or 1. Summed as floats,
    which BLAS does at once, and which is exact up to 2**24 in float32 and 2**53 in float64.
    """
    per_value = np.broadcast_to(weights, x.shape[1:]).ravel()
    if not (binary and x.dtype == np.float64):
        x = (x != 0).astype(np.float32 if int(per_value.sum()) < 1 << 24 else np.float64)
    with np.errstate(invalid="ignore"):  # of what BLAS reads beside these numbers
        counted: np.ndarray = x.reshape(x.shape[0], -1) @ per_value.astype(x.dtype)
    return counted.astype(np.int64)


def tree_sum(xp: ModuleType, x: Array) -> Array:
    """Sum over axis 1 by halving, padded with zeros to a power of two: the same rounding in every backend."""
    size = x.shape[1]
    half = 1 << max(size - 1, 0).bit_length()
    if half != size:
        padding = xp.zeros((x.shape[0], half - size, *x.shape[2:]), dtype=x.dtype, device=x.device)
        x = xp.concat([x, padding], axis=1)
    while half > 1:
        half //= 2
        x = x[:, :half] + x[:, half:]
    return x[:, 0]
