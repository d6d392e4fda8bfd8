"""Convolution and pooling of one step's frame, for graphs of others."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State


@dataclasses.dataclass(eq=False)
class Conv2d(Operation):
    """y[o, i, j] = bias[o] + sum over c, k, l of weight[o, c, k, l] * x[c, i*stride_y + k*dilation_y, j*... + l*...]

    Cross-correlation, as in torch and NIR, of a frame with zeros around it.
    weight: (out, in/groups, ky, kx) float32; bias: (out,) float32 or None; input (in, height, width).
    """

    kind: ClassVar[str] = "conv2d"
    weight: np.ndarray
    bias: np.ndarray | None = None
    stride_y: int = 1
    stride_x: int = 1
    dilation_y: int = 1
    dilation_x: int = 1
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    groups: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.ndim != 4 or (self.bias is not None and self.bias.shape != self.weight.shape[:1]):
            raise BadInput(self.kind, f"weight {self.weight.shape} and bias don't fit together")
        if self.groups < 1 or self.weight.shape[0] % self.groups:
            raise BadInput(self.kind, f"{self.weight.shape[0]} channels can't be cut into {self.groups} groups")
        if len(shape) != 3:
            raise BadInput(self.kind, f"takes inputs of shape (channels, height, width), not {shape}")
        self._fit(shape, (self.weight.shape[1] * self.groups, *shape[1:]))
        return (self.weight.shape[0], *_sizes(self.kind, self, shape, self.weight.shape[2:]))

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        height, width = _sizes(self.kind, self, x.shape[1:], self.weight.shape[2:])
        x = _padded(xp, self, x)
        outputs, inputs = self.weight.shape[0] // self.groups, self.weight.shape[1]
        parts = []
        for group in range(self.groups):
            weight = self.weight[group * outputs : (group + 1) * outputs]
            channels = x[:, group * inputs : (group + 1) * inputs]
            y = None
            for k in range(self.weight.shape[2]):
                for m in range(self.weight.shape[3]):
                    taken = _taken(self, channels, k * self.dilation_y, m * self.dilation_x, height, width)
                    term = weight[:, :, k, m] @ xp.reshape(taken, (x.shape[0], inputs, height * width))
                    y = term if y is None else y + term
            parts.append(y)
        y = xp.reshape(xp.concat(parts, axis=1), (x.shape[0], self.weight.shape[0], height, width))
        return state, y if self.bias is None else y + self.bias[:, None, None]

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        unbiased = dataclasses.replace(self, weight=(self.weight != 0).astype(np.int64), bias=None)
        reached = unbiased.step(np, {}, (x != 0).astype(np.int64))[1].reshape(x.shape[0], -1).sum(axis=1)
        dense = dataclasses.replace(unbiased, weight=np.ones_like(unbiased.weight))
        everything = dense.step(np, {}, np.ones((1, *x.shape[1:]), np.int64))[1].sum()
        return {"synaptic_acs" if binary else "effective_macs": reached, "dense_macs": int(everything)}


@dataclasses.dataclass(eq=False)
class Conv1d(Operation):
    """y[o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[c, i*stride + k*dilation], zeros around.

    weight: (out, in/groups, k) float32; bias: (out,) float32 or None; input (in, length).
    """

    kind: ClassVar[str] = "conv1d"
    weight: np.ndarray
    bias: np.ndarray | None = None
    stride: int = 1
    dilation: int = 1
    pad_left: int = 0
    pad_right: int = 0
    groups: int = 1

    def _flat(self) -> Conv2d:
        """The same over frames of height 1."""
        return Conv2d(
            self.weight[:, :, None, :],
            self.bias,
            stride_x=self.stride,
            dilation_x=self.dilation,
            pad_left=self.pad_left,
            pad_right=self.pad_right,
            groups=self.groups,
        )

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.ndim != 3 or len(shape) != 2:
            raise BadInput(self.kind, f"weight {self.weight.shape} doesn't take inputs of shape {shape}")
        try:
            outputs, _, length = self._flat().output_shape((shape[0], 1, shape[1]))
        except BadInput as error:
            raise BadInput(self.kind, error.reason) from error
        return (outputs, length)

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, self._flat().step(xp, state, x[:, :, None, :])[1][:, :, 0, :]

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        return self._flat().count(x[:, :, None, :], binary)


@dataclasses.dataclass(eq=False)
class SumPool2d(Operation):
    """y[c, i, j] = the sum of x[c] over a window of kernel_y x kernel_x, zeros around it.

    Input (channels, height, width).
    """

    kind: ClassVar[str] = "sum_pool2d"
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    dilation_y: ClassVar[int] = 1
    dilation_x: ClassVar[int] = 1

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise BadInput(self.kind, f"takes inputs of shape (channels, height, width), not {shape}")
        return (shape[0], *_sizes(self.kind, self, shape, (self.kernel_y, self.kernel_x)))

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        height, width = _sizes(self.kind, self, x.shape[1:], (self.kernel_y, self.kernel_x))
        x = _padded(xp, self, x)
        y = None
        for k in range(self.kernel_y):
            for m in range(self.kernel_x):
                taken = _taken(self, x, k, m, height, width)
                y = taken if y is None else y + taken
        return state, y

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        reached = SumPool2d.step(self, np, {}, (x != 0).astype(np.int64))[1].reshape(x.shape[0], -1).sum(axis=1)
        everything = SumPool2d.step(self, np, {}, np.ones((1, *x.shape[1:]), np.int64))[1].sum()
        return {"synaptic_acs" if binary else "effective_macs": reached, "dense_macs": int(everything)}


@dataclasses.dataclass(eq=False)
class AvgPool2d(SumPool2d):
    """y[c, i, j] = the mean of x[c] over a window, padding zeros included. Input (channels, height, width)."""

    kind: ClassVar[str] = "avg_pool2d"

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, super().step(xp, state, x)[1] / (self.kernel_y * self.kernel_x)


def _sizes(kind: str, window: Any, shape: Shape, kernel: Shape) -> tuple[int, int]:
    """Height and width of the output: how many places the window takes over the padded input."""
    numbers = (window.stride_y, window.stride_x, window.dilation_y, window.dilation_x, *kernel)
    pads = (window.pad_top, window.pad_bottom, window.pad_left, window.pad_right)
    if min(numbers) < 1 or min(pads) < 0:
        raise BadInput(kind, "kernel, stride and dilation start at 1, padding at 0")
    height = shape[1] + pads[0] + pads[1] - window.dilation_y * (kernel[0] - 1) - 1
    width = shape[2] + pads[2] + pads[3] - window.dilation_x * (kernel[1] - 1) - 1
    if height < 0 or width < 0:
        raise BadInput(kind, f"a window of {tuple(kernel)} is larger than the input {tuple(shape)}")
    return height // window.stride_y + 1, width // window.stride_x + 1


def _padded(xp: ModuleType, window: Any, x: Array, value: float = 0) -> Array:
    for axis, before, after in ((2, window.pad_top, window.pad_bottom), (3, window.pad_left, window.pad_right)):
        sides = []
        for size in (before, after):
            shape = list(x.shape)
            shape[axis] = size
            sides.append(xp.full(tuple(shape), value, dtype=x.dtype, device=x.device))
        if before or after:
            x = xp.concat([sides[0], x, sides[1]], axis=axis)
    return x


def _taken(window: Any, x: Array, top: int, left: int, height: int, width: int) -> Array:
    """What one place of the kernel sees: (B, C, height, width)."""
    bottom, right = top + (height - 1) * window.stride_y + 1, left + (width - 1) * window.stride_x + 1
    return x[:, :, top : bottom : window.stride_y, left : right : window.stride_x]
