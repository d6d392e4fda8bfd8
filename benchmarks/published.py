"""The papers' neurons in training, as published, on any device: what others are measured beside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from train.neurons.bptt import Spike

TAU = 0.125


def loop(x: Tensor) -> Tensor:
    """BPTT: ``x[..., t]``, step by step, whose backward writes a tensor of the size of x for every step."""
    u, one, out = torch.zeros_like(x[..., 0]), torch.ones((), device=x.device), []
    for t in range(x.shape[-1]):
        v = TAU * u + x[..., t]
        s = Spike.apply(v, one, "triangle")
        u = v * (1 - s)
        out.append(s)
    return torch.stack(out, dim=-1)


def sdn(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Spikes by what ``network`` predicts of the membrane potentials."""

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            q = network(x.reshape(-1, x.shape[-1])).view_as(x)
        return Spike.apply(q + x, torch.ones((), device=x.device), "triangle")

    return run
