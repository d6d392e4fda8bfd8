"""Synapses: operations without state whose weights are reached by spikes or by graded values."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State, reached


@dataclasses.dataclass(eq=False)
class Affine(Operation):
    """y[t] = W x[t] + b over the last axis.

    weight: (out, in) float32; bias: (out,) float32 or None.
    """

    kind: ClassVar[str] = "affine"
    weight: np.ndarray
    bias: np.ndarray | None = None

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.ndim != 2 or (self.bias is not None and self.bias.shape != self.weight.shape[:1]):
            raise BadInput(self.kind, f"weight {self.weight.shape} and bias don't fit together")
        self._fit(shape, (*shape[:-1], self.weight.shape[1]))
        return (*shape[:-1], self.weight.shape[0])

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        y = x @ self.weight.T
        return state, y if self.bias is None else y + self.bias

    def over(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        # numpy multiplies a stack of matrices one by one: each product has the shape, and the bits, of a step's
        return self.step(xp, state, x) if xp is np else super().over(xp, state, x)

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        events = reached(x, np.count_nonzero(self.weight, axis=0), binary)
        dense = self.weight.size * math.prod(x.shape[1:-1])
        return {"synaptic_acs" if binary else "effective_macs": events, "dense_macs": dense}


@dataclasses.dataclass(eq=False)
class Scale(Operation):
    """y[t] = scale * x[t], element by element. scale: of the input's shape, float32 or float64."""

    kind: ClassVar[str] = "scale"
    rowwise: ClassVar[bool] = True
    scale: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.scale.shape)
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, self.scale * x

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        events = reached(x, self.scale != 0, binary)
        return {"synaptic_acs" if binary else "effective_macs": events, "dense_macs": self.scale.size}


@dataclasses.dataclass(eq=False)
class Join(Operation):
    """y[t] = the sum of all edges that enter: where streams meet (a residual connection)."""

    kind: ClassVar[str] = "join"
    rowwise: ClassVar[bool] = True
    counts_values: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, x
