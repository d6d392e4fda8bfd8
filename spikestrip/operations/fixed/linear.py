"""Synapses of integer weights; reals that become integers; and the accumulator that is read out."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, State
from spikestrip.operations.fixed.words import (
    ACCUMULATOR,
    EXACT,
    EXPONENT,
    MESSAGE,
    FixedOperation,
    int32,
    message,
    outside,
    powers,
    shifted,
)


@dataclasses.dataclass(eq=False)
class FixedInput(FixedOperation):
    """y[t] = floor(x[t]*2^exponent + 1/2), clipped to ``bits`` bits with the sign: how reals become messages."""

    kind: ClassVar[str] = "fixed_input"
    rowwise: ClassVar[bool] = True
    exponent: int
    bits: int

    def __post_init__(self) -> None:
        if not (abs(self.exponent) <= EXPONENT and 2 <= self.bits <= 24):
            raise BadInput(self.kind, f"needs an exponent from -{EXPONENT} to {EXPONENT} and 2 to 24 bits")
        self._scale, self._largest = 2.0**self.exponent, 2 ** (self.bits - 1) - 1

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, xp.clip(xp.floor(x * self._scale + 0.5), -self._largest, self._largest)

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        return outside(np.floor(x * self._scale + 0.5), self._largest + 1)


@dataclasses.dataclass(eq=False)
class FixedAffine(FixedOperation):
    """y[t] = sum over words k of (W_k x[t]) << e_k, plus bias; over the last axis. A shift to the right is floor.

    weight: (K, in, out) integers of 8 bits; exponent: (K,); bias: (out,) integers or None. Each word is a stock Dense,
    whose shift is of the whole sum; the bias a constant source. Sums and shifts wrap in int32.
    """

    kind: ClassVar[str] = "fixed_affine"
    rowwise: ClassVar[bool] = True  # sums of whole numbers are the same in any order
    weight: np.ndarray
    exponent: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._check_words("weight", self.weight, self.exponent)
        self._powers = powers(self.exponent)

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.ndim != 3 or (self.bias is not None and self.bias.shape != self.weight.shape[2:]):
            raise BadInput(self.kind, f"weight {self.weight.shape} and bias don't fit together")
        self._fit(shape, (*shape[:-1], self.weight.shape[1]))
        if np.abs(self.weight.astype(np.int64)).sum(axis=1).max() * ACCUMULATOR >= EXACT:
            raise BadInput(self.kind, "adds so many products that float64 can't hold the sum of 32-bit messages")
        return (*shape[:-1], self.weight.shape[2])

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, int32(xp, self._sum(xp, message(xp, x)))

    def _sum(self, xp: ModuleType, x: Array) -> Array:
        y = shifted(xp, x @ self.weight[0], self._powers[0])
        for k in range(1, len(self._powers)):
            y = y + shifted(xp, x @ self.weight[k], self._powers[k])
        return y if self.bias is None else y + self.bias

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        sent = message(np, x)
        total: np.ndarray = outside(x, MESSAGE) + outside(self._sum(np, sent), ACCUMULATOR)
        for word, power in zip(self.weight, self._powers, strict=True):
            total = total + outside((sent @ word) * max(power, 1.0), ACCUMULATOR)
        return total

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        reached = ((x != 0) @ np.count_nonzero(self.weight, axis=(0, 2))).reshape(x.shape[0], -1).sum(axis=1)
        dense = self.weight.size * math.prod(x.shape[1:-1])
        return {"synaptic_acs" if binary else "effective_macs": reached, "dense_macs": dense}


@dataclasses.dataclass(eq=False)
class FixedScale(FixedOperation):
    """y[t] = sum over words k of (w_k * x[t]) << e_k, element by element; sums and shifts wrap in int32.

    weight: (K, *shape); exponent: (K,).
    """

    kind: ClassVar[str] = "fixed_scale"
    rowwise: ClassVar[bool] = True
    weight: np.ndarray
    exponent: np.ndarray

    def __post_init__(self) -> None:
        self._check_words("weight", self.weight, self.exponent)
        self._powers = powers(self.exponent)

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.weight.shape[1:])
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, int32(xp, self._sum(xp, message(xp, x)))

    def _sum(self, xp: ModuleType, x: Array) -> Array:
        y = shifted(xp, x * self.weight[0], self._powers[0])
        for k in range(1, len(self._powers)):
            y = y + shifted(xp, x * self.weight[k], self._powers[k])
        return y

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        sent = message(np, x)
        total: np.ndarray = outside(x, MESSAGE) + outside(self._sum(np, sent), ACCUMULATOR)
        for word, power in zip(self.weight, self._powers, strict=True):
            total = total + outside((sent * word) * max(power, 1.0), ACCUMULATOR)
        return total

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        per_input = np.count_nonzero(self.weight, axis=0)
        reached = ((x != 0) * per_input).reshape(x.shape[0], -1).sum(axis=1)
        return {"synaptic_acs" if binary else "effective_macs": reached, "dense_macs": self.weight.size}


@dataclasses.dataclass(eq=False)
class FixedReadout(FixedOperation):
    """s[t] = s[t-1] + x[t], in int32, read out as it is: stock Sigma (mean-pool readout; the division is outside)."""

    kind: ClassVar[str] = "fixed_readout"

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"sigma": shape}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        total = int32(xp, state["sigma"] + x)
        return {"sigma": total}, total

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        return outside(state["sigma"] + x, MESSAGE)

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        size = math.prod(x.shape[1:])
        return {"state_macs": size, "state_updates": size}
