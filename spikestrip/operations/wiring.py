"""What NIR puts between neurons besides weights: flatten, delay, threshold; for graphs of others."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, SpikingOperation, State
from spikestrip.operations.neurons import Comparison, _check_choice


@dataclasses.dataclass(eq=False)
class Flatten(Operation):
    """y[t] = x[t] with the axes from start_dim to end_dim (of one step's shape, both included) made one."""

    kind: ClassVar[str] = "flatten"
    rowwise: ClassVar[bool] = True
    keeps_spikes: ClassVar[bool] = True
    start_dim: int = 0
    end_dim: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        axes = range(len(shape))
        if self.start_dim not in (*axes, *(axis - len(shape) for axis in axes)):
            raise BadInput(self.kind, f"an input of shape {shape} has no axis {self.start_dim}")
        if self.end_dim not in (*axes, *(axis - len(shape) for axis in axes)):
            raise BadInput(self.kind, f"an input of shape {shape} has no axis {self.end_dim}")
        start, end = self.start_dim % len(shape), self.end_dim % len(shape)
        if end < start:
            raise BadInput(self.kind, f"axis {self.end_dim} comes before axis {self.start_dim}")
        return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, xp.reshape(x, (x.shape[0], *self.output_shape(tuple(x.shape[1:]))))


@dataclasses.dataclass(eq=False)
class Delay(Operation):
    """y[t] = x[t - delay], zero before the first step; every element has its own whole number of steps.

    taps: (longest delay + 1, *shape), 1 where the element's delay is the row's number, else 0.
    """

    kind: ClassVar[str] = "delay"
    keeps_spikes: ClassVar[bool] = True
    taps: np.ndarray

    @classmethod
    def of(cls, steps: np.ndarray) -> Delay:
        """The delay of ``steps`` (integers >= 0, of the input's shape)."""
        rows = np.arange(steps.max(initial=0) + 1).reshape(-1, *(1,) * steps.ndim)
        return cls((rows == steps).astype(np.float32))

    def output_shape(self, shape: Shape) -> Shape:
        if not np.isin(self.taps, (0, 1)).all() or not (self.taps.sum(axis=0) == 1).all():
            raise BadInput(self.kind, "taps are not one 1 for each element")
        self._fit(shape, self.taps.shape[1:])
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"line": (self.taps.shape[0] - 1, *shape)} if self.taps.shape[0] > 1 else {}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        y = self.taps[0] * x
        if "line" not in state:
            return state, y
        line = state["line"]  # the newest first
        for row in range(line.shape[1]):
            y = y + self.taps[row + 1] * line[:, row]
        return {"line": xp.concat([x[:, None], line[:, :-1]], axis=1)}, y

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        return {"state_updates": self.taps[0].size if self.taps.shape[0] > 1 else 0}


@dataclasses.dataclass(eq=False)
class Threshold(SpikingOperation):
    """s[t] = (x[t] > threshold), or >= with ``comparison`` "ge"; no memory. threshold: the input's shape, float64."""

    kind: ClassVar[str] = "threshold"
    threshold: np.ndarray
    comparison: Comparison = "gt"

    def __post_init__(self) -> None:
        _check_choice(self.kind, "comparison", self.comparison, ("ge", "gt"))

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.threshold.shape)
        return shape

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return x

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - self.threshold

    def fire(self, state: State, potential: Array) -> Array:
        return potential >= self.threshold if self.comparison == "ge" else potential > self.threshold

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return state
