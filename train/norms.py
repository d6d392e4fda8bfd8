"""The norm, the dropout and the linear map over features of a block, on streams (B, H, L)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from train.options import Norm

Batch = TypeVar("Batch")


def make_norm(kind: Norm, width: int) -> nn.Module:
    """BatchNorm1d, LayerNorm, or nothing."""
    if kind == "batch":
        return nn.BatchNorm1d(width)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


def restate(network: nn.Module, forward: Callable[[Batch], object], batches: Iterable[Batch]) -> None:
    """Take every BatchNorm's statistics anew, as their mean over ``batches``, without dropout; leaves eval mode.

    What it kept in training is a running mean: of weights that have moved on since, and of streams with dropout, whose
    variance is another. "Precise BatchNorm", Wu and Johnson 2021, arXiv:2105.07576, section 3.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    try:
        for number, batch in enumerate(batches if norms else (), 1):
            for norm in norms:
                norm.train()
                norm.momentum = 1 / number  # the mean of the first, of the first two, ...
            with torch.no_grad():
                forward(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()


def make_dropout(share: float, tied: bool) -> nn.Module:
    """Dropout of single values, or with ``tied`` of channels: one mask for all steps (DropoutNd of the S4 code)."""
    return nn.Dropout1d(share) if tied else nn.Dropout(share)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm`` over the features of x (B, H, L)."""
    if isinstance(norm, nn.LayerNorm):
        normed: Tensor = norm(x.transpose(1, 2)).transpose(1, 2)
        return normed
    by_step = x.transpose(1, 2).is_contiguous() and not x.is_contiguous()
    if isinstance(norm, nn.BatchNorm1d) and by_step:  # as rows (B*L, H) twice as fast
        rows: Tensor = norm(x.transpose(1, 2).flatten(0, 1))
        return rows.view(len(x), -1, x.shape[1]).transpose(1, 2)
    result: Tensor = norm(x)
    return result


def over_channels(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear`` over the channels of x (B, C, L), without moving time to the last place and back."""
    return torch.baddbmm(linear.bias[:, None], linear.weight.expand(len(x), -1, -1), x)
