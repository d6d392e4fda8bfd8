"""A loss that widens margins: a hinge on every decision of a spiking layer that lies close to its threshold.

A decision's margin is |d|, d = (u' - vth)/vth, in thresholds. The hinge of a layer is the mean over samples, neurons
and steps of max(0, 1 - |d|/width): 0 where no decision lies within ``width``, 1 where all tie. Rounding and
quantisation can flip only what lies close.

u' follows from the input current and the spikes that were fired, whatever form computed them: given the spikes it is
a linear recurrence, and that is how it is differentiated, the spikes held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikestrip.errors import BadInput
from train.building import AnyNetwork
from train.networks import SpikingNeuron
from train.neurons.neuron import Neuron
from train.recipe import NO_CURRENTS
from train.speck import IntegrateAndFire


def potentials(x: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """u' (B, H, L) of ``neuron`` for the input current x (B, H, L), its resets where ``spikes`` (B, H, L) say."""
    tau, vth = (p.reshape(-1, 1) for p in (neuron.tau, neuron.vth))
    before = F.pad(spikes.detach(), (1, 0))[..., :-1]
    if neuron.reset == "hard":
        return _recurrence(tau * (1 - before), x, neuron.tau)
    if neuron.reset == "refractory":
        parameters = neuron.parameters
        decay, strength = (parameters[name].reshape(-1, 1) for name in ("tau_r", "uth"))
        x = x - strength * _recurrence(decay.expand_as(x), before, parameters["tau_r"])
    if neuron.kind != "refractory_only":
        x = x - tau * vth * before
    return _recurrence(tau.expand_as(x), x, neuron.tau)


def _recurrence(decay: Tensor, x: Tensor, most: Tensor) -> Tensor:
    """y[t] = decay[t]*y[t-1] + x[t] over the last axis, by doubling, until decays below ``most`` leave under a ulp."""
    steps, largest = x.shape[-1], float(most.detach().abs().max())
    smallest, reach = torch.finfo(x.dtype).eps, 1
    while reach < steps and largest**reach > smallest:
        x = x + decay * F.pad(x, (reach, 0))[..., :steps]
        decay = decay * F.pad(decay, (reach, 0))[..., :steps]
        reach *= 2
    return x


def hinge(x: Tensor, spikes: Tensor, neuron: Neuron, width: float) -> Tensor:
    """The mean of max(0, 1 - |u' - vth|/(width*vth)) over a layer's decisions; arguments as in ``potentials``."""
    vth = neuron.vth.reshape(-1, 1)
    distance = (potentials(x, spikes, neuron) - vth) / vth
    return F.relu(1 - distance.abs() / width).mean()


@contextmanager
def hinges(network: AnyNetwork, width: float | None) -> Iterator[list[Tensor]]:
    """A list to which each forward pass of ``network`` adds the hinge of every spiking layer; none without a width.

    Raises BadInput for a network whose spikes are drawn, their distance to firing is a random number's, and for one by
    ``fused``, which holds no currents.
    """
    found: list[Tensor] = []
    layers = [module for module in network.modules() if isinstance(module, SpikingNeuron | IntegrateAndFire)]
    if width is not None and not layers:
        raise BadInput("--margin", f"{network.config.model} draws its spikes: no margin of theirs can be widened")
    if width is not None and any(isinstance(layer, SpikingNeuron) and layer.fused for layer in layers):
        raise BadInput("--margin", NO_CURRENTS)
    if width is not None and not (math.isfinite(width) and width > 0):
        raise BadInput("--margin", f"is {width}, not a width above 0")

    def kept(layer: SpikingNeuron | IntegrateAndFire, entered: tuple[Any, ...], spikes: Tensor) -> None:
        x = entered[0]
        found.append(hinge(x, spikes, layer.neuron(x.dtype), width or 1.0))

    handles = [layer.register_forward_hook(kept) for layer in layers if width is not None]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
