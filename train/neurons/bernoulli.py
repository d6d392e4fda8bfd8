"""The stochastic neurons of P-SpikeSSM: sample spikes from a probability, mix them, fuse them with the residual.

Bal and Sengupta, "P-SpikeSSM: Harnessing Probabilistic Spiking State Space Models for Long-Range Dependency Tasks",
ICLR 2025. A block, in our reading of the paper and of a public fork of its code:

    s = SpikeSampler(x);  z = SSM(s);  s' = SpikeSampler(z);  m = SpikeMixer(s');  x' = FuseClamp(x, m)

There is no state that a spike resets: all steps are sampled at once, from the streams that the iterative network
draws step by step (``spikestrip.draws``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn

from spikestrip.draws import draw_sequence, fires
from spikestrip.errors import BadInput
from train.neurons.checks import require
from train.norms import make_norm, normalise, over_channels
from train.options import Norm


class Bernoulli(torch.autograd.Function):
    """s = (r < p) forward; backward the gradient of the expectation E[s] = p."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, draws: Tensor) -> Tensor:
        return fires(xp, draws, p).to(p.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class SpikeSampler(nn.Module):
    """p = clamp(a*z + b, 0, 1);  s = (r < p), with a and b learned for each neuron (``gain`` and 0 at first).

    ``layer`` is the number under which this sampler draws: every sampler of a network needs its own.
    """

    def __init__(self, width: int, layer: int, gain: float = 1.0) -> None:
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.full((width,), gain))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, z: Tensor, seed: int, first_sample: int = 0) -> Tensor:
        """Spikes (B, H, L), 0 or 1, for z (B, H, L); the samples are first_sample, first_sample + 1, ...

        Raises BadInput where a*z + b isn't finite (NaN would pass for silence).
        """
        if z.device.type == "cpu":
            from train.neurons import sampled  # numba

            return sampled.run(z, self.a, self.b, seed, self.layer, first_sample)
        drive = self.a[:, None] * z + self.b[:, None]
        require(torch.isfinite(drive), not_finite)
        batch, width, length = z.shape
        sample = torch.arange(first_sample, first_sample + batch, device=z.device)[:, None]
        neuron = torch.arange(width, device=z.device)[None]
        draws = draw_sequence(xp, seed, self.layer, sample, neuron, length)
        return Bernoulli.apply(torch.clamp(drive, 0, 1), draws)


def not_finite() -> BadInput:
    return BadInput("sampler input", "holds NaN or infinity")


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "glu": partial(nn.GLU, dim=1)}


class SpikeMixer(nn.Module):
    """m = activation(W s + b) across the neurons of a step; GELU in the paper, ReLU in its variant for hardware.

    With "glu", W and b make 2*width values, of which the second half gates the first.
    """

    def __init__(self, width: int, activation: str = "gelu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise BadInput("spike mixer", f"unknown activation {activation!r}, expected {', '.join(ACTIVATIONS)}")
        self.linear = nn.Linear(width, 2 * width if activation == "glu" else width)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, spikes: Tensor) -> Tensor:
        """(B, H, L) -> (B, H, L)."""
        mixed: Tensor = self.activation(over_channels(self.linear, spikes))
        return mixed


class FuseClamp(nn.Module):
    """x' = norm(x + m). The clamp that turns it into probabilities is the next sampler's, behind its a and b."""

    def __init__(self, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.norm = make_norm(norm, width)

    def forward(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Residual stream and mixed spikes, both (B, H, L) -> (B, H, L)."""
        return normalise(self.norm, x + mixed)
