"""Convolution, pooling, flatten, delay and threshold as NIR's own nodes."""

from __future__ import annotations

import dataclasses

import nir
import numpy as np

from convert.formats.nir.writing.bodies import StreamShapes, strict
from spikestrip.errors import Refused
from spikestrip.operations import AvgPool2d, Conv1d, Conv2d, Delay, Flatten, SumPool2d, Threshold

Sides = tuple[int, int]


def conv1d(operation: Conv1d, streams: StreamShapes) -> nir.Conv1d:
    """NIR's Conv1d. Raises Refused for zeros that no kernel with more zeros in it makes alike on both sides."""
    plain = _plain(operation, [(operation.pad_left, operation.pad_right)], [operation.dilation], [operation.stride])
    padding = plain.padding if isinstance(plain.padding, str) else plain.padding[0]
    stride, dilation = operation.stride, operation.dilation
    return nir.Conv1d(int(streams.entering[1]), plain.weight, stride, padding, dilation, 1, _bias(operation))


def conv2d(operation: Conv2d, streams: StreamShapes) -> nir.Conv2d:
    """NIR's Conv2d. Raises Refused for zeros that no kernel with more zeros in it makes alike on both sides."""
    stride, dilation = (operation.stride_y, operation.stride_x), (operation.dilation_y, operation.dilation_x)
    plain = _plain(operation, _sides(operation), [*dilation], [*stride])
    shape = (int(streams.entering[1]), int(streams.entering[2]))
    return nir.Conv2d(shape, plain.weight, stride, plain.padding, dilation, 1, _bias(operation))


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


@dataclasses.dataclass(frozen=True)
class _Plain:
    """A kernel without groups, as long on every axis, and its padding: what nir's type check understands."""

    weight: np.ndarray
    padding: tuple[int, ...] | str


def _plain(operation: Conv1d | Conv2d, sides: list[Sides], dilation: list[int], stride: list[int]) -> _Plain:
    """The same convolution, with zeros in the kernel for other groups and for taps that it lacks.

    ``ahead`` zero taps before a kernel and as many more zeros of padding there change nothing, nor do those behind it.
    """
    weight = _ungrouped(operation.weight, operation.groups)
    kernel = weight.shape[2:]
    totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    uneven = any(before != after for before, after in sides)
    square = len(set(kernel)) == 1
    if uneven and square and set(stride) == {1} and sides == [(total // 2, total - total // 2) for total in totals]:
        return _Plain(weight, "same")
    lacks = [divmod(after - before, step) for (before, after), step in zip(sides, dilation, strict=True)]
    shortest = max(size + abs(taps) for size, (taps, _) in zip(kernel, lacks, strict=True))
    for length in (shortest, shortest + 1):
        added = [length - size for size in kernel]
        if not any(rest or (more + taps) % 2 for more, (taps, rest) in zip(added, lacks, strict=True)):
            ahead = [(more + taps) // 2 for more, (taps, _) in zip(added, lacks, strict=True)]
            around = [(front, more - front) for front, more in zip(ahead, added, strict=True)]
            padding = [side[0] + front * step for side, front, step in zip(sides, ahead, dilation, strict=True)]
            return _Plain(np.pad(weight, [(0, 0), (0, 0), *around]), tuple(padding))
    raise Refused(
        operation.kind,
        f"has a kernel of {kernel} and zeros {sides} before and after: nir's type check wants square kernels padded "
        "alike on both sides; make the kernel's sides all even or all odd, and pad alike",
    )


def _ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """(out, in/groups, ...) as (out, in, ...), zero between groups."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return dense
