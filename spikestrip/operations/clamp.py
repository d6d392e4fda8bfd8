"""Values kept between bounds."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State


@dataclasses.dataclass(eq=False)
class Clamp(Operation):
    """y = min(max(x, low), high), element by element; NaN stays NaN. A bound that is None isn't there.

    Clamp(0, 1) makes a probability; Clamp(0) is the ReLU.
    """

    kind: ClassVar[str] = "clamp"
    rowwise: ClassVar[bool] = True
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        if not low <= high:
            raise BadInput(self.kind, f"no value lies between {self.low} and {self.high}")

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, xp.clip(x, self.low, self.high)
