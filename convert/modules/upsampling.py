"""Transposed convolutions and nearest-neighbour upsampling: zeros put between the values, then a convolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import nn

from convert.modules.arrays import array
from spikestrip.errors import Refused
from spikestrip.operations import Conv1d, Conv2d, Operation, Pad, Reshape, Shape


def transposed(path: str, module: Any, shape: Shape) -> tuple[Operation, ...]:
    """ConvTranspose1d or 2d: the flipped kernel, channels exchanged, over values that lie ``stride`` apart."""
    axes = module.weight.ndim - 2
    if len(shape) != axes + 1 or shape[0] != module.in_channels:
        raise Refused(path, f"takes {module.in_channels} channels and {axes} axes, and {shape} enters")
    weight = array(path, "weight", module.weight)
    groups = module.groups
    flipped = np.flip(weight, tuple(range(2, 2 + axes)))
    grouped = flipped.reshape(groups, len(weight) // groups, *flipped.shape[1:]).swapaxes(1, 2)
    kernel = np.ascontiguousarray(grouped.reshape(-1, len(weight) // groups, *weight.shape[2:]))
    bias = None if module.bias is None else array(path, "bias", module.bias)
    sides = []
    for axis in range(axes):
        around = module.dilation[axis] * (module.kernel_size[axis] - 1) - module.padding[axis]
        sides += [around, around + module.output_padding[axis] - (module.stride[axis] - 1)]
    return _spread_and_convolved(path, shape, kernel, bias, module.stride, module.dilation, sides, groups)


def upsampled(path: str, module: nn.Upsample, shape: Shape) -> tuple[Operation, ...]:
    """Nearest neighbours, each value so many times: a kernel of ones in each channel."""
    if module.mode != "nearest" or len(shape) not in (2, 3):
        raise Refused(path, f"has mode {module.mode!r} on {shape}; nearest on rows and frames is known")
    axes = len(shape) - 1
    given: Any = module.size if module.scale_factor is None else module.scale_factor
    wanted = given if isinstance(given, tuple | list) else (given,) * axes
    factors = []
    for size, value in zip(shape[1:], wanted, strict=True):
        factor = float(value) / size if module.scale_factor is None else float(value)
        if factor < 1 or factor != int(factor):
            raise Refused(path, f"makes {factor:g} of one value; only whole numbers are known")
        factors.append(int(factor))
    kernel = np.ones((shape[0], 1, *factors), np.float32)
    sides = [side for factor in factors for side in (factor - 1, 0)]
    return _spread_and_convolved(path, shape, kernel, None, factors, (1,) * axes, sides, shape[0])


def _spread_and_convolved(
    path: str, shape: Shape, weight: np.ndarray, bias: Any, stride: Any, dilation: Any, sides: list[int], groups: int
) -> tuple[Operation, ...]:
    if min(sides) < 0:
        raise Refused(path, "crops what it makes (padding beyond its kernel), which no operation says")
    convolution: Operation
    if weight.ndim == 3:
        convolution = Conv1d(weight, bias, 1, dilation[0], sides[0], sides[1], groups)
    else:
        top, bottom, left, right = sides
        convolution = Conv2d(weight, bias, 1, 1, dilation[0], dilation[1], top, bottom, left, right, groups)
    return (*_spread(shape, tuple(stride)), convolution)


def _spread(shape: Shape, stride: Shape) -> tuple[Operation, ...]:
    """Each value followed by stride - 1 zeros on every axis: an axis of 1 beside each, grown, and both made one."""
    if math.prod(stride) == 1:
        return ()
    apart = [size for pair in zip(shape[1:], (1,) * len(stride), strict=True) for size in pair]
    grown = [size * step for size, step in zip(shape[1:], stride, strict=True)]
    pads = [Pad(2 + 2 * axis, 0, step - 1) for axis, step in enumerate(stride) if step > 1]
    return (Reshape.to((shape[0], *apart)), *pads, Reshape.to((shape[0], *grown)))
