"""NIR nodes without a time constant: no rule of integration changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations import Affine, AvgPool2d, Conv1d, Conv2d, Flatten, Operation, SumPool2d


def _affine(node: nir.Affine | nir.Linear) -> Affine:
    weight = node.weight
    if any(size != 1 for size in weight.shape[:-2]):
        raise BadInput("weight", f"of shape {weight.shape} is a stack of matrices; one matrix is understood")
    bias = getattr(node, "bias", None)
    if bias is not None and np.size(bias) not in (1, weight.shape[-2]):
        raise BadInput("bias", f"has {np.size(bias)} values for {weight.shape[-2]} outputs")
    spread = None if bias is None else np.broadcast_to(np.reshape(bias, -1), weight.shape[-2:-1]).copy()
    return Affine(weight.reshape(weight.shape[-2:]), spread)


def _conv1d(node: nir.Conv1d) -> Conv1d:
    stride, dilation, (left, right) = *_pair(node, 1, "stride"), *_pair(node, 1, "dilation"), _padding(node, 1)[0]
    return Conv1d(node.weight, _bias(node), stride, dilation, left, right, int(node.groups))


def _conv2d(node: nir.Conv2d) -> Conv2d:
    (top, bottom), (left, right) = _padding(node, 2)
    (down, across), (dilated_down, dilated_across) = _pair(node, 2, "stride"), _pair(node, 2, "dilation")
    return Conv2d(
        node.weight,
        _bias(node),
        stride_y=down,
        stride_x=across,
        dilation_y=dilated_down,
        dilation_x=dilated_across,
        pad_top=top,
        pad_bottom=bottom,
        pad_left=left,
        pad_right=right,
        groups=int(node.groups),
    )


def _bias(node: nir.Conv1d | nir.Conv2d) -> np.ndarray | None:
    if node.weight.ndim != (3 if isinstance(node, nir.Conv1d) else 4):
        raise BadInput("weight", f"has shape {node.weight.shape}")
    bias = np.atleast_1d(node.bias)
    return np.broadcast_to(bias, node.weight.shape[:1]).copy() if bias.size == 1 else bias


def _pair(node: nir.NIRNode, count: int, field: str) -> tuple[int, ...]:
    values = np.atleast_1d(getattr(node, field))
    if values.ndim > 1 or values.size not in (1, count) or (values != np.rint(values)).any():
        raise BadInput(field, f"is {values}, not {count} whole numbers")
    return tuple(int(value) for value in np.broadcast_to(values, count))


def _padding(node: nir.Conv1d | nir.Conv2d, count: int) -> list[tuple[int, int]]:
    """Zeros before and after each axis; "same" puts the odd one after, as torch does."""
    if not isinstance(node.padding, str):
        return [(value, value) for value in _pair(node, count, "padding")]
    if node.padding == "valid":
        return [(0, 0)] * count
    if set(_pair(node, count, "stride")) != {1}:
        raise BadInput("padding", "is 'same', which needs a stride of 1")
    totals = [
        dilation * (size - 1)
        for dilation, size in zip(_pair(node, count, "dilation"), node.weight.shape[2:], strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def _pool(kind: type[SumPool2d]) -> Callable[[Any], SumPool2d]:
    def made(node: nir.SumPool2d | nir.AvgPool2d) -> SumPool2d:
        (height, width), (down, across) = _pair(node, 2, "kernel_size"), _pair(node, 2, "stride")
        above, beside = _pair(node, 2, "padding")
        return kind(height, width, down, across, above, above, beside, beside)

    return made


FRAMES: dict[type[nir.NIRNode], Callable[[Any], Operation]] = {
    nir.Affine: _affine,
    nir.Linear: _affine,
    nir.Conv1d: _conv1d,
    nir.Conv2d: _conv2d,
    nir.SumPool2d: _pool(SumPool2d),
    nir.AvgPool2d: _pool(AvgPool2d),
    nir.Flatten: lambda node: Flatten(int(node.start_dim), int(node.end_dim)),
}
