"""Convolution, pooling, flatten, delay and threshold as NIR's own nodes."""

from __future__ import annotations

import nir
import numpy as np

from convert.formats.nir.writing.bodies import StreamShapes, strict
from spikestrip.errors import Refused
from spikestrip.operations import AvgPool2d, Conv1d, Conv2d, Delay, Flatten, SumPool2d, Threshold

Sides = tuple[int, int]


def conv1d(operation: Conv1d, streams: StreamShapes) -> nir.Conv1d:
    """NIR's Conv1d. Raises Refused for zeros that differ between the two sides."""
    padding = _padding(operation, [(operation.pad_left, operation.pad_right)], [operation.dilation], [operation.stride])
    return nir.Conv1d(
        int(streams.entering[1]),
        operation.weight,
        operation.stride,
        padding if isinstance(padding, str) else padding[0],
        operation.dilation,
        operation.groups,
        _bias(operation),
    )


def conv2d(operation: Conv2d, streams: StreamShapes) -> nir.Conv2d:
    """NIR's Conv2d. Raises Refused for zeros that differ between the two sides."""
    stride, dilation = (operation.stride_y, operation.stride_x), (operation.dilation_y, operation.dilation_x)
    padding = _padding(operation, _sides(operation), [*dilation], [*stride])
    shape = (int(streams.entering[1]), int(streams.entering[2]))
    return nir.Conv2d(shape, operation.weight, stride, padding, dilation, operation.groups, _bias(operation))


def pool(operation: SumPool2d, streams: StreamShapes) -> nir.SumPool2d | nir.AvgPool2d:
    """NIR's SumPool2d or AvgPool2d. Raises Refused for zeros that differ between the two sides."""
    kind = nir.AvgPool2d if isinstance(operation, AvgPool2d) else nir.SumPool2d
    padding = [_even(operation.kind, sides) for sides in _sides(operation)]
    kernel = np.array([operation.kernel_y, operation.kernel_x])
    return kind(kernel, np.array([operation.stride_y, operation.stride_x]), np.array(padding))


def flatten(operation: Flatten, streams: StreamShapes) -> nir.Flatten:
    """NIR's Flatten; a row's leading axis moves the first dimension by one."""
    shape = np.array(streams.lift(np.empty(streams.entering)).shape)
    start = operation.start_dim + 1 if streams.rows and operation.start_dim >= 0 else operation.start_dim
    end = operation.end_dim + 1 if streams.rows and operation.end_dim >= 0 else operation.end_dim
    return nir.Flatten({"input": shape}, start, end)


def delay(operation: Delay, streams: StreamShapes) -> nir.Delay:
    """NIR's Delay in steps: dt is 1."""
    return nir.Delay(streams.lift(operation.taps.argmax(axis=0).astype(np.float64)))


def threshold(operation: Threshold, streams: StreamShapes) -> nir.Threshold:
    """NIR's Threshold, which fires above it."""
    return nir.Threshold(streams.lift(strict(operation.threshold, operation.comparison)))


def _bias(operation: Conv1d | Conv2d) -> np.ndarray:
    return np.zeros(operation.weight.shape[0], operation.weight.dtype) if operation.bias is None else operation.bias


def _sides(operation: Conv2d | SumPool2d) -> list[Sides]:
    return [(operation.pad_top, operation.pad_bottom), (operation.pad_left, operation.pad_right)]


def _even(kind: str, sides: Sides) -> int:
    if sides[0] != sides[1]:
        raise Refused(kind, f"puts {sides[0]} zeros before and {sides[1]} after; NIR puts as many on both sides")
    return sides[0]


def _padding(
    operation: Conv1d | Conv2d, sides: list[Sides], dilation: list[int], stride: list[int]
) -> tuple[int, ...] | str:
    totals = [step * (size - 1) for step, size in zip(dilation, operation.weight.shape[2:], strict=True)]
    uneven = any(before != after for before, after in sides)
    if uneven and set(stride) == {1} and sides == [(total // 2, total - total // 2) for total in totals]:
        return "same"
    return tuple(_even(operation.kind, pair) for pair in sides)
