"""Integrate-and-fire on a membrane of 16 bits: what a core of a Speck holds, seen step by step."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, SpikingOperation, State
from spikestrip.operations.fixed.words import FixedOperation

LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1
"""Of a membrane, and of a threshold: sinabs' DYNAPCNN_STATE_PRECISION_BITS is 16."""


@dataclasses.dataclass(eq=False)
class FixedIF(FixedOperation, SpikingOperation):
    """Integrate-and-fire in whole numbers, one spike a step at the most; the membrane stays at its ends (assumed).

    u'[t] = clip(u[t-1] + I[t], -2^15, 2^15 - 1);  s = (u' >= threshold)
    u = u' - threshold*s if ``soft``, else u'*(1 - s)

    threshold: 1..2^15 - 1. sinabs' discretisation gives the scale and 16 bits; that a full membrane saturates, and
    doesn't wrap, is an assumption: no document says.
    """

    kind: ClassVar[str] = "fixed_if"
    threshold: int
    soft: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= HIGHEST:
            raise BadInput(self.kind, f"threshold {self.threshold} is not one of 1..{HIGHEST}")

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return xp.clip(state["u"] + x, LOWEST, HIGHEST)

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - self.threshold

    def fire(self, state: State, potential: Array) -> Array:
        return potential >= self.threshold

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return {"u": potential - self.threshold * spikes if self.soft else potential * (1 - spikes)}

    def clipped(self, state: State, x: np.ndarray) -> np.ndarray:
        """Where a sum leaves 16 bits, or is no number: booleans, (B, *shape)."""
        raw = state["u"] + x
        outside: np.ndarray = ~((raw >= LOWEST) & (raw <= HIGHEST))
        return outside

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        number: np.ndarray = np.count_nonzero(self.clipped(state, x).reshape(len(x), -1), axis=1)
        return number

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        size = int(np.prod(x.shape[1:]))
        return {"state_macs": size, "state_updates": size}
