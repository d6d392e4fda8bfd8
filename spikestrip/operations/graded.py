"""Operations on graded values that no standard NIR node can say."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State, reached, tree_sum


@dataclasses.dataclass(eq=False)
class GLU(Operation):
    """Gated linear unit (Dauphin et al. 2017, arXiv:1612.08083).

    y = a * sigmoid(b), with a and b the two halves of the last axis of the input.
    """

    kind: ClassVar[str] = "glu"
    rowwise: ClassVar[bool] = True

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-1] % 2:
            raise BadInput(self.kind, f"needs an even number of inputs to halve, not {shape[-1]}")
        return (*shape[:-1], shape[-1] // 2)

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        half = x.shape[-1] // 2
        return state, x[..., :half] * (1 / (1 + xp.exp(-x[..., half:])))

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        half = x.shape[-1] // 2
        return {"effective_macs": reached(x[..., :half], 1), "dense_macs": math.prod(x.shape[1:-1]) * half}


@dataclasses.dataclass(eq=False)
class LayerNorm(Operation):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over one step's features (Ba et al. 2016, arXiv:1607.06450).

    Sums are halving-tree sums. weight, bias: (H,) float32.
    """

    kind: ClassVar[str] = "layer_norm"
    rowwise: ClassVar[bool] = True
    counts_values: ClassVar[bool] = False
    weight: np.ndarray
    bias: np.ndarray
    eps: float = 1e-5

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.weight.shape)
        self._fit(shape, self.bias.shape)
        return shape

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        size = x.shape[1]
        centred = x - (tree_sum(xp, x) / size)[:, None]
        variance = tree_sum(xp, centred * centred) / size
        return state, centred / xp.sqrt(variance + self.eps)[:, None] * self.weight + self.bias

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        macs = 2 * self.weight.size  # the squares, and weight and bias
        return {"effective_macs": macs, "dense_macs": macs}
