"""Other shapes of the same values: a view, and zeros around."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State


@dataclasses.dataclass(eq=False)
class Reshape(Operation):
    """y[t] = the values of x[t], in their order, as ``sizes``: one step's shape, as text, "4,3" for (4, 3)."""

    kind: ClassVar[str] = "reshape"
    rowwise: ClassVar[bool] = True
    counts_values: ClassVar[bool] = False
    keeps_spikes: ClassVar[bool] = True
    sizes: str

    @classmethod
    def to(cls, shape: Shape) -> Reshape:
        return cls(",".join(map(str, shape)))

    @property
    def shape(self) -> Shape:
        """The sizes as numbers. Raises BadInput where they are none."""
        parts = self.sizes.split(",")
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            raise BadInput(self.kind, f"sizes {self.sizes!r} are no whole numbers above 0 with commas between")
        return tuple(map(int, parts))

    def output_shape(self, shape: Shape) -> Shape:
        if math.prod(shape) != math.prod(self.shape):
            raise BadInput(self.kind, f"an input of shape {tuple(shape)} has not as many values as {self.shape}")
        return self.shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, xp.reshape(x, (x.shape[0], *self.shape))


@dataclasses.dataclass(eq=False)
class Pad(Operation):
    """y[t] = x[t] with ``before`` zeros ahead of it and ``after`` behind it along ``axis`` of one step.

    A sum of padded streams is their concatenation: x + 0 does not round.
    """

    kind: ClassVar[str] = "pad"
    rowwise: ClassVar[bool] = True
    counts_values: ClassVar[bool] = False
    keeps_spikes: ClassVar[bool] = True
    axis: int
    before: int = 0
    after: int = 0

    def output_shape(self, shape: Shape) -> Shape:
        if not 0 <= self.axis < len(shape):
            raise BadInput(self.kind, f"an input of shape {tuple(shape)} has no axis {self.axis}")
        if min(self.before, self.after) < 0:
            raise BadInput(self.kind, "adds a negative number of zeros")
        grown = list(shape)
        grown[self.axis] += self.before + self.after
        return tuple(grown)

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        axis, parts = self.axis + 1, []
        for size in (self.before, self.after):
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            parts.append(xp.zeros(shape, dtype=x.dtype, device=x.device))
        return state, xp.concat([parts[0], x, parts[1]], axis=axis)
