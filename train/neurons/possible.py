"""Which spikes an approximate parallel form surely fires, and which it possibly does, for inputs known up to an error.

What lies between the two, rounding may decide; the rest the form itself decides: a verifier holds a recorded run to it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from train.neurons.neuron import Neuron
from train.neurons.pmbc import Linear
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
