"""Which spikes an approximate parallel form surely fires, and which it possibly does, for inputs known up to an error.

What lies between the two, rounding may decide; the rest the form itself decides: a verifier holds a recorded run to it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.neurons.neuron import Neuron
from train.neurons.sdn import Surrogate
from train.neurons.sdn_network import Folded

ROUNDINGS = 64  # more than the network does one after another, whatever the order of its sums


@torch.no_grad()
def sdn(x: Tensor, apart: Tensor, neuron: Neuron, surrogate: Surrogate, unit: float) -> tuple[Tensor, Tensor]:
    """(surely, possibly), booleans (B, H, L), of SDN run in arithmetic of ``unit`` roundoff on inputs within ``apart``
    (H,) of x (B, H, L) float64. The slopes of the network are at most those of its absolute weights."""
    vth = neuron.vth.double().expand(x.shape[1])[:, None]
    z = (x / vth).reshape(-1, x.shape[-1])
    error = ((apart[:, None] / vth).expand(x.shape) + 4 * unit * (x / vth).abs()).reshape_as(z)
    network = surrogate.like(z)
    slack = _absolute(network, 0.0).predict(error) + error
    slack += ROUNDINGS * unit * (_absolute(network, 1.0).predict(z.abs()) + z.abs() + 1)
    excess = network.predict(z) + z - 1
    return (excess > slack).view(x.shape), (excess >= -slack).view(x.shape)


def _absolute(network: Folded, biases: float) -> Folded:
    """The network of absolute weights, its absolute biases times ``biases``."""
    absolute = copy.deepcopy(network)
    for name, parameter in absolute.named_parameters():
        parameter.copy_(parameter.abs() * (biases if name.startswith("b") else 1.0))
    return absolute


@torch.no_grad()
def pmbc(x: Tensor, apart: Tensor, neuron: Neuron, iterations: int) -> tuple[Tensor, Tensor]:
    """The same of PMBC stopped after ``iterations``: its map is antitone, so bounds of one iterate bound the next."""
    width, length = x.shape[1:]
    flat = x.reshape(-1, length)
    heads = torch.arange(len(flat)) % width
    values: dict[str, Any] = {name: p.detach().double().expand(width)[heads] for name, p in neuron.parameters.items()}
    rows = replace(neuron, **values)
    dynamics = Linear(flat, rows)
    everyone = torch.arange(len(flat))
    lasting, _ = dynamics.memory(rows.tau)
    spread = (apart.expand(width)[heads] * lasting)[:, None]
    threshold = rows.vth[:, None]
    surely = possibly = torch.zeros_like(flat, dtype=torch.bool)
    before = surely, possibly
    for _ in range(iterations):
        before = surely, possibly
        most, least = dynamics.potential(everyone, before[0]), dynamics.potential(everyone, before[1])
        rounding = (dynamics.bound(everyone, most) + dynamics.bound(everyone, least))[:, None]
        surely = least - spread - rounding >= threshold
        possibly = most + spread + rounding >= threshold
    return (surely & before[0]).view(x.shape), (possibly & before[1]).view(x.shape)


class Linear:
    """The linear dynamics of N rows in float64: k once, then u' for any spikes."""

    def __init__(self, x: Tensor, neuron: Neuron) -> None:
        self.length = length = x.shape[1]
        self.size = 1 << (2 * length - 1).bit_length()
        self.x = x
        self.neuron = neuron
        steps = torch.arange(length, device=x.device, dtype=torch.float64)
        tau, vth = neuron.tau.double()[:, None], neuron.vth.double()[:, None]
        self.decay = torch.fft.rfft(tau**steps, self.size)
        self.k = torch.fft.irfft(self.decay * torch.fft.rfft(x.double(), self.size), self.size)[:, :length]
        inhibition = torch.zeros_like(self.k)
        if neuron.reset == "soft" or neuron.soft:
            inhibition[:, 1:] += vth * tau ** steps[1:]
        if neuron.reset == "refractory":
            tau_r, uth = _refractory(neuron)
            both = torch.fft.irfft(self.decay * torch.fft.rfft(tau_r[:, None] ** steps, self.size), self.size)
            inhibition[:, 1:] += uth[:, None] * both[:, : length - 1].clamp(min=0)
        self.g = torch.fft.rfft(inhibition, self.size)
        self.inhibition = inhibition.norm(dim=1)

    def potential(self, rows: Tensor, spikes: Tensor) -> Tensor:
        """u' (len(rows), L) of these rows for given spikes."""
        transformed = torch.fft.rfft(spikes.double(), self.size)
        return self.k[rows] - torch.fft.irfft(self.g[rows] * transformed, self.size)[:, : self.length]

    def bound(self, rows: Tensor, potential: Tensor) -> Tensor:
        """How far u' of the loop in the dtype of x may be from ``potential``, for the same spikes; (len(rows),).

        Loop: each step rounds tau*u, + x, uth*R, - and the reset, each by at most half an ulp of the largest value
        of the row, and the errors decay with tau (those of R with tau_r). FFT: log2(size) roundings in the norms.
        """
        neuron = rows_of(self.neuron, rows)
        x = self.x[rows].double()
        tau, vth = neuron.tau.double(), neuron.vth.double()
        half = torch.finfo(self.x.dtype).eps / 2
        bits = 8 * torch.finfo(torch.float64).eps * self.size.bit_length()
        lasting, norm = self.memory(tau)
        top = potential.abs().amax(1) + vth + x.abs().amax(1)
        local = 4 * top
        transform = norm * x.norm(dim=1) + self.inhibition[rows] * self.length**0.5
        if neuron.reset == "refractory":
            tau_r, uth = _refractory(neuron)
            lasting_r, norm_r = self.memory(tau_r)
            largest = torch.minimum(uth * lasting_r, 2 * top)  # of uth*R = tau*u + x - u'
            local = local + largest * (3 + 2 * lasting_r)
            transform = transform + uth * norm * norm_r * self.length  # the kernel's own transform
        return 1.01 * half * local * lasting + bits * transform

    def memory(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and 2-norm of tau^0 .. tau^(L-1), from above."""
        shortest = 1 / self.length
        return 1 / (1 - tau).clamp(min=shortest), (1 / (1 - tau**2).clamp(min=shortest)).sqrt()


def rows_of(neuron: Neuron, rows: slice | Tensor) -> Neuron:
    """The neurons of some rows, where the parameters are (N,)."""
    values: dict[str, Any] = {name: value[rows] for name, value in neuron.parameters.items()}
    return replace(neuron, **values)


def _refractory(neuron: Neuron) -> tuple[Tensor, Tensor]:
    if neuron.tau_r is None or neuron.uth is None:
        raise BadInput("neuron", "a refractory neuron needs tau_r and uth")
    return neuron.tau_r.double(), neuron.uth.double()
