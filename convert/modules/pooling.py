"""Pooling layers of torch as operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from spikestrip.errors import Refused
from spikestrip.operations import AvgPool2d, Conv1d, MaxPool2d, Operation, Shape


def avg_pool2d(path: str, module: nn.AvgPool2d, shape: Shape) -> AvgPool2d:
    if module.ceil_mode or not module.count_include_pad or module.divisor_override is not None:
        raise Refused(path, "has ceil_mode, divisor_override or no count_include_pad; only plain means are known")
    sizes = [pair(value) for value in (module.kernel_size, module.stride, module.padding)]
    (height, width), (down, across), (above, beside) = sizes
    return AvgPool2d(height, width, down, across, above, above, beside, beside)


def avg_pool1d(path: str, module: nn.AvgPool1d, shape: Shape) -> Conv1d:
    """A mean over a row: the same weight for each tap, each channel a group of its own."""
    if module.ceil_mode or not module.count_include_pad:
        raise Refused(path, "has ceil_mode or no count_include_pad; only plain means are known")
    (size, stride, padding) = (_one(value) for value in (module.kernel_size, module.stride, module.padding))
    return _mean(shape, size, stride, padding)


def max_pool2d(path: str, module: nn.MaxPool2d, shape: Shape) -> MaxPool2d:
    _check_axes(path, shape, 3)
    sizes = [pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)]
    (above, below), (left, right) = (
        _sides(path, module, size, *(both[axis] for both in sizes)) for axis, size in enumerate(shape[1:])
    )
    (height, width), (down, across), _, dilation = sizes
    return MaxPool2d(height, width, down, across, above, below, left, right, *dilation)


def max_pool1d(path: str, module: nn.MaxPool1d, shape: Shape) -> MaxPool2d:
    _check_axes(path, shape, 2)
    kernel, stride, padding, dilation = (
        _one(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    left, right = _sides(path, module, shape[1], kernel, stride, padding, dilation)
    return MaxPool2d(1, kernel, 1, stride, pad_left=left, pad_right=right, dilation_x=dilation)


def adaptive(path: str, module: Any, shape: Shape) -> Operation:
    """Where the input is so many times the output, every window is as large: an ordinary pooling."""
    axes = 1 if type(module).__name__.endswith("1d") else 2
    _check_axes(path, shape, axes + 1)
    if getattr(module, "return_indices", False):
        raise Refused(path, "returns indices too, which no stream holds")
    wanted = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,) * axes
    sizes = []
    for size, output in zip(shape[1:], wanted, strict=True):
        if output is not None and size % output:
            raise Refused(
                path, f"makes {output} of {size} values: its windows differ in size; give a pooling that fits"
            )
        sizes.append(1 if output is None else size // output)
    if "Max" in type(module).__name__:
        return MaxPool2d(*([1, *sizes] if axes == 1 else sizes) * 2)
    return _mean(shape, sizes[0], sizes[0], 0) if axes == 1 else AvgPool2d(*sizes, *sizes)


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _mean(shape: Shape, size: int, stride: int, padding: int) -> Conv1d:
    return Conv1d(np.full((shape[0], 1, size), 1 / size), None, stride, 1, padding, padding, shape[0])


def _one(value: Any) -> int:
    return int(value if isinstance(value, int) else value[0])


def _sides(path: str, module: Any, size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, int]:
    """The padding before and after an axis; ceil_mode goes on while a window begins before the padding behind."""
    if module.return_indices:
        raise Refused(path, "returns indices too, which no stream holds")
    reach = dilation * (kernel - 1) + 1
    places = (size + 2 * padding - reach) // stride + 1
    if module.ceil_mode and (size + 2 * padding - reach) % stride and places * stride < size + padding:
        return padding, places * stride + reach - size - padding
    return padding, padding


def _check_axes(path: str, shape: Shape, axes: int) -> None:
    if len(shape) != axes:
        raise Refused(path, f"takes a step with {axes} axes, and {shape} enters")
