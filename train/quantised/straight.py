"""Straight-through: the value is what integers make, the gradient that of the real map beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.errors import BadInput
from spikestrip.operations import FixedLIF
from spikestrip.operations.fixed import kernels
from spikestrip.operations.fixed.neurons import ALIGN
from spikestrip.operations.fixed.words import ACCUMULATOR
from train.neurons.surrogate import SURROGATES


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(exact: np.ndarray, smooth: Callable[[], Tensor]) -> Tensor:
    """``exact`` with the gradient of ``smooth()``, which is computed only where a gradient is wanted."""
    value = torch.from_numpy(exact)
    if not torch.is_grad_enabled():
        return value
    beside = smooth()
    replaced: Tensor = _Replaced.apply(beside, value.to(beside.dtype))
    return replaced


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: FixedLIF, surrogate: str) -> Tensor:
        current = x.detach().numpy()
        if not np.abs(current).max(initial=0) * 2**ALIGN < ACCUMULATOR:
            raise BadInput("scales", "an activation leaves int32, where it would wrap: they are of another network")
        spikes, potentials = np.empty_like(current), np.empty_like(current)
        kernels.lif(current, np.zeros(x.shape[1:]), *neuron.constants(x.shape[2]), spikes, potentials)
        distance = torch.from_numpy(potentials).mul_(1 / _threshold(neuron)).sub_(1).float()
        fired = torch.from_numpy(spikes)
        ctx.save_for_backward(distance, fired)
        ctx.neuron, ctx.surrogate = neuron, surrogate
        return fired

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        distance, fired = ctx.saved_tensors
        slope = SURROGATES[ctx.surrogate](distance)
        tau = 1 - ctx.neuron.dv / 4096
        # of v[t] = v'[t] (1 - s[t]), which the next step takes times tau: what dv'[t+1] adds to dv'[t]
        keeps = tau * ((1 - fired) - (distance + 1) * slope)
        through = grad * slope / _threshold(ctx.neuron)
        for t in range(len(through) - 2, -1, -1):
            through[t].addcmul_(keeps[t], through[t + 1])
        return through * 2**ALIGN, None, None


def spikes(x: Tensor, neuron: FixedLIF, surrogate: str) -> Tensor:
    """Spikes (T, B, H) of ``neuron`` for the activations x (T, B, H), whole numbers in float64, time first.

    The gradient is that of the hard-reset LIF on v'/threshold, through time and through the reset; what trunc and clip
    do is left out of it.
    """
    fired: Tensor = _Spikes.apply(x, neuron, surrogate)
    return fired


def _threshold(neuron: FixedLIF) -> float:
    """In the potential's units."""
    return float(neuron.vth << ALIGN)
