"""Layers of torch without a state, each as an operation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from convert.modules import pooling, spikingjelly, upsampling
from convert.modules.arrays import array
from spikestrip.errors import Refused
from spikestrip.operations import (
    GELU,
    GLU,
    Affine,
    Clamp,
    Conv1d,
    Conv2d,
    Flatten,
    LayerNorm,
    Operation,
    Pad,
    Reshape,
    Shape,
)  # fmt: skip

Synapse = Affine | Conv1d | Conv2d


def kind(module: nn.Module) -> type[nn.Module] | None:
    """The class in LAYERS that ``module`` is, or that it wraps; None for no known layer."""
    wrapped = spikingjelly.torch_type(module) or type(module)
    return wrapped if wrapped in LAYERS else None


def operations(path: str, module: nn.Module, shape: Shape) -> tuple[Operation, ...]:
    """``module``, of a ``kind`` in LAYERS, for one step of ``shape`` (without batch): a chain; () changes nothing.

    Raises Refused(path, reason) for what no operation says exactly.
    """
    made = LAYERS[kind(module) or type(module)](path, module, shape)
    if made is None:
        return ()
    return made if isinstance(made, tuple) else (made,)


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
    return Clamp(0.0)


def _clamp(path: str, module: Any, shape: Shape) -> Clamp:
    return Clamp(float(module.min_val), float(module.max_val))


def _gelu(path: str, module: nn.GELU, shape: Shape) -> GELU:
    if module.approximate != "none":
        raise Refused(path, f"has approximate={module.approximate!r}; only the exact GELU is known")
    return GELU()


def _glu(path: str, module: nn.GLU, shape: Shape) -> GLU:
    if module.dim not in (-1, len(shape)):
        raise Refused(path, f"halves axis {module.dim}; only the last one is known")
    return GLU()


def _layer_norm(path: str, module: nn.LayerNorm, shape: Shape) -> tuple[Operation, ...]:
    """Over all that a step holds; over rows one by one no operation says it."""
    if tuple(module.normalized_shape) != shape:
        raise Refused(
            path, f"normalises {tuple(module.normalized_shape)} of a step of {shape}; only whole steps are known"
        )
    size = math.prod(shape)
    ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
    weight = ones if module.weight is None else array(path, "weight", module.weight).ravel()
    norm = LayerNorm(weight, zeros if module.bias is None else array(path, "bias", module.bias).ravel(), module.eps)
    return (norm,) if len(shape) == 1 else (Flatten(), norm, Reshape.to(shape))


def _unflatten(path: str, module: nn.Unflatten, shape: Shape) -> Reshape:
    if not isinstance(module.dim, int) or module.dim % (len(shape) + 1) == 0:
        raise Refused(path, f"unflattens axis {module.dim!r}; name one after the batch by its number")
    axis = module.dim % (len(shape) + 1) - 1
    sizes = [int(size) for size in module.unflattened_size]
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[axis] // -math.prod(sizes)
    return Reshape.to((*shape[:axis], *sizes, *shape[axis + 1 :]))


def padded(path: str, sides: Sequence[int], value: float, shape: Shape) -> tuple[Operation, ...]:
    """Zeros around, torch's way: (left, right, top, bottom, ...), the last axis first."""
    if value:
        raise Refused(path, f"pads with {value}; only zeros are known")
    if len(sides) % 2 or len(sides) > 2 * len(shape):
        raise Refused(path, f"pads {len(sides) / 2:g} axes of a step of {shape}")
    pads = zip(sides[::2], sides[1::2], strict=True)
    return tuple(Pad(len(shape) - 1 - axis, *map(int, both)) for axis, both in enumerate(pads) if any(both))


def _pad(path: str, module: Any, shape: Shape) -> tuple[Operation, ...]:
    return padded(path, module.padding, getattr(module, "value", 0), shape)


Made = Operation | tuple[Operation, ...] | None

LAYERS: dict[type[nn.Module], Callable[[str, Any, Shape], Made]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv1d,
    nn.Conv2d: _conv2d,
    nn.ConvTranspose1d: upsampling.transposed,
    nn.ConvTranspose2d: upsampling.transposed,
    nn.Upsample: upsampling.upsampled,
    nn.UpsamplingNearest2d: upsampling.upsampled,
    nn.AvgPool1d: pooling.avg_pool1d,
    nn.AvgPool2d: pooling.avg_pool2d,
    nn.MaxPool1d: pooling.max_pool1d,
    nn.MaxPool2d: pooling.max_pool2d,
    nn.AdaptiveAvgPool1d: pooling.adaptive,
    nn.AdaptiveAvgPool2d: pooling.adaptive,
    nn.AdaptiveMaxPool1d: pooling.adaptive,
    nn.AdaptiveMaxPool2d: pooling.adaptive,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.ZeroPad1d: _pad,
    nn.ZeroPad2d: _pad,
    nn.ConstantPad1d: _pad,
    nn.ConstantPad2d: _pad,
    nn.LayerNorm: _layer_norm,
    nn.ReLU: _relu,
    nn.ReLU6: _clamp,
    nn.Hardtanh: _clamp,
    nn.GELU: _gelu,
    nn.GLU: _glu,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.Dropout1d: _nothing,
    nn.Dropout2d: _nothing,
    nn.AlphaDropout: _nothing,
}
