"""The largest value of a window: of spikes, whether any neuron of it fired."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import ClassVar

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State
from spikestrip.operations.convolution import _padded, _sizes, _taken


@dataclasses.dataclass(eq=False)
class MaxPool2d(Operation):
    """y[c, i, j] = the largest x[c] of a window of kernel_y x kernel_x taps; what is padded is below every value.

    Input (channels, height, width), or (channels, length), a frame of height 1. Of spikes it is their OR, so that
    spikes leave as spikes; of values it is as torch's, NaN included. It has no gradient: a program is not trained.
    """

    kind: ClassVar[str] = "max_pool2d"
    rowwise: ClassVar[bool] = True
    counts_values: ClassVar[bool] = False
    keeps_spikes: ClassVar[bool] = True
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    dilation_y: int = 1
    dilation_x: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) == 2:
            channels, _, length = self.output_shape((shape[0], 1, shape[1]))
            return channels, length
        if len(shape) != 3:
            raise BadInput(self.kind, f"takes inputs of shape (channels, height, width), not {shape}")
        sizes = _sizes(self.kind, self, shape, (self.kernel_y, self.kernel_x))
        height = (sizes[0], self.kernel_y, self.stride_y, self.dilation_y, self.pad_top, shape[1])
        width = (sizes[1], self.kernel_x, self.stride_x, self.dilation_x, self.pad_left, shape[2])
        if not (_sees(*height) and _sees(*width)):
            raise BadInput(self.kind, "has a window that lies in the padding alone, of which nothing is the largest")
        return (shape[0], *sizes)

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        if x.ndim == 3:
            return state, self.step(xp, state, x[:, :, None, :])[1][:, :, 0, :]
        height, width = _sizes(self.kind, self, x.shape[1:], (self.kernel_y, self.kernel_x))
        x = _padded(xp, self, x, -math.inf)
        y = None
        for k in range(self.kernel_y):
            for m in range(self.kernel_x):
                taken = _taken(self, x, k * self.dilation_y, m * self.dilation_x, height, width)
                y = taken if y is None else xp.maximum(y, taken)
        return state, y


def _sees(places: int, taps: int, stride: int, dilation: int, before: int, size: int) -> bool:
    """Whether each of ``places`` windows along an axis has a tap on one of its ``size`` values."""
    return all(
        any(0 <= place * stride + tap * dilation - before < size for tap in range(taps)) for place in range(places)
    )
