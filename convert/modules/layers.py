"""Layers of torch without a state, each as an operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from convert.modules.arrays import array
from spikestrip.errors import Refused
from spikestrip.operations import Affine, AvgPool2d, Clamp, Conv1d, Conv2d, Flatten, Operation, Shape

Synapse = Affine | Conv1d | Conv2d


def operation(path: str, module: nn.Module, shape: Shape) -> Operation | None:
    """``module``, of a type in LAYERS, for one step of ``shape`` (without batch); None where it is the identity.

    Raises Refused(path, reason) for what no operation says exactly.
    """
    return LAYERS[type(module)](path, module, shape)


def normed(path: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, synapse: Synapse) -> Synapse:
    """``synapse`` followed by ``norm``: gain*(W x + b) + shift = (gain*W) x + (gain*b + shift), in float64."""
    gain, shift = _folded(path, norm)
    if len(gain) != len(synapse.weight):
        raise Refused(path, f"normalises {len(gain)} channels, and {len(synapse.weight)} enter")
    weight = synapse.weight * gain.reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    bias = shift if synapse.bias is None else gain * synapse.bias + shift
    return dataclasses.replace(synapse, weight=weight, bias=bias)


def _linear(path: str, module: nn.Linear, shape: Shape) -> Affine:
    return Affine(array(path, "weight", module.weight), _bias(path, module))


def _conv1d(path: str, module: nn.Conv1d, shape: Shape) -> Conv1d:
    weight = array(path, "weight", module.weight)
    ((left, right),) = _padding(path, module)
    return Conv1d(weight, _bias(path, module), module.stride[0], module.dilation[0], left, right, module.groups)


def _conv2d(path: str, module: nn.Conv2d, shape: Shape) -> Conv2d:
    weight = array(path, "weight", module.weight)
    (top, bottom), (left, right) = _padding(path, module)
    (down, across), (dilated_down, dilated_across) = module.stride, module.dilation
    return Conv2d(
        *(weight, _bias(path, module), down, across, dilated_down, dilated_across),
        *(top, bottom, left, right, module.groups),
    )


def _bias(path: str, module: nn.Linear | nn.Conv1d | nn.Conv2d) -> np.ndarray | None:
    return None if module.bias is None else array(path, "bias", module.bias)


def _padding(path: str, module: nn.Conv1d | nn.Conv2d) -> list[tuple[int, int]]:
    """Zeros before and after each axis; "same" puts the odd one after."""
    if module.padding_mode != "zeros":
        raise Refused(path, f"pads with {module.padding_mode!r}; only zeros are known")
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if module.padding == "valid":
        return [(0, 0) for _ in module.kernel_size]
    return [(int(size), int(size)) for size in module.padding]


def _batch_norm(path: str, module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> Synapse:
    """On its own: a diagonal matrix over the channels, which are the first axis of a step."""
    channels = np.eye(module.num_features)
    if len(shape) == 1:
        return normed(path, module, Affine(channels))
    if len(shape) == 2:
        return normed(path, module, Conv1d(channels[:, :, None]))
    return normed(path, module, Conv2d(channels[:, :, None, None]))


def _folded(path: str, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    if norm.training:
        raise Refused(path, "is in training mode, where it normalises by the batch; call eval() first")
    if norm.running_mean is None or norm.running_var is None:
        raise Refused(path, "has no running statistics: it normalises by the batch in eval mode too")
    mean, variance = array(path, "running_mean", norm.running_mean), array(path, "running_var", norm.running_var)
    gain = 1 / np.sqrt(variance.astype(np.float64) + norm.eps)
    if norm.weight is not None:
        gain = array(path, "weight", norm.weight) * gain
    shift = -gain * mean
    return gain, shift if norm.bias is None else array(path, "bias", norm.bias) + shift


def _flatten(path: str, module: nn.Flatten, shape: Shape) -> Flatten | None:
    return flatten(path, shape, module.start_dim, module.end_dim)


def flatten(path: str, shape: Shape, start: int = 0, end: int = -1) -> Flatten | None:
    """torch.flatten of a batch of steps of ``shape``; its axis 0 is the batch. None where one axis is left as it is."""
    first, last = (axis if axis >= 0 else axis + len(shape) + 1 for axis in (start, end))
    if first < 1 or last < first:
        raise Refused(path, f"flattens from axis {start} to {end}, the batch included; begin at axis 1")
    return None if first == last else Flatten(first - 1, last - 1)


def _nothing(path: str, module: nn.Module, shape: Shape) -> None:
    if module.training and not isinstance(module, nn.Identity):
        raise Refused(path, "is in training mode, where it drops values at random; call eval() first")


def _relu(path: str, module: nn.ReLU, shape: Shape) -> Clamp:
    if module.inplace:
        raise Refused(path, "changes its input in place, which others may read; set inplace=False")
    return Clamp(0.0)


def _avg_pool(path: str, module: nn.AvgPool2d, shape: Shape) -> AvgPool2d:
    if module.ceil_mode or not module.count_include_pad or module.divisor_override is not None:
        raise Refused(path, "has ceil_mode, divisor_override or no count_include_pad; only plain means are known")
    sizes = [_pair(value) for value in (module.kernel_size, module.stride, module.padding)]
    (height, width), (down, across), (above, beside) = sizes
    return AvgPool2d(height, width, down, across, above, above, beside, beside)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


LAYERS: dict[type[nn.Module], Callable[[str, Any, Shape], Operation | None]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv1d,
    nn.Conv2d: _conv2d,
    nn.AvgPool2d: _avg_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: _flatten,
    nn.ReLU: _relu,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.Dropout1d: _nothing,
    nn.Dropout2d: _nothing,
}
