"""The parallel forms of a trained network's neuron: which there are, and what the network does computed by one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.networks import Network, SpikingNeuron
from train.neurons.bernoulli import SpikeSampler
from train.neurons.methods import METHODS

EXACT = ("bptt", "scan", "block", "pmbc")
ITERATIONS = (2, 4, 8)  # where PMBC is stopped, beside going on until its bounds meet
DRAW = "draw"


@dataclasses.dataclass(frozen=True)
class Form:
    """method: a name in METHODS, or DRAW (P-SpikeSSM draws all steps at once); iterations: of PMBC, 0: all it takes."""

    method: str
    dtype: str
    iterations: int = 0

    @property
    def name(self) -> str:
        return f"{self.method}, M = {self.iterations}" if self.iterations else self.method


def forms_of(network: Network) -> tuple[list[Form], dict[str, str]]:
    """The forms that compute the neuron of ``network``, and the other methods with their reasons.

    Exact forms come in float32 and float64, the others in the papers' float32.
    """
    if network.config.model == "pspikessm":
        return [Form(DRAW, dtype) for dtype in ("float32", "float64")], {}
    forms, refused = [], {}
    silence = torch.zeros(1, network.config.d_model, 1)
    for method in METHODS:
        wanted = [Form(method, dtype) for dtype in ("float32", "float64") if method in EXACT or dtype == "float32"]
        wanted += [Form(method, "float32", count) for count in ITERATIONS if method == "pmbc"]
        try:
            list(forced(computed_by(network, wanted[0]), [silence] * network.config.layers, 0))
        except BadInput as error:
            refused[method] = error.reason
        else:
            forms += wanted
    return forms, refused


def computed_by(network: Network, form: Form) -> Network:
    """A copy of ``network`` whose spikes are computed by ``form``."""
    other = copy.deepcopy(network).to(getattr(torch, form.dtype))
    if form.method != DRAW:
        other.set_parallel(form.method)
        for module in other.modules():
            if isinstance(module, SpikingNeuron):
                module.config = dataclasses.replace(module.config, pmbc_iterations=form.iterations)
    return other


@torch.inference_mode()
def forced(network: Network, currents: Sequence[Tensor], first_sample: int) -> Iterator[Tensor]:
    """Spikes (B, N, T) of each spiking layer alone, fed with its own of ``currents``, (B, N, T) each."""
    neurons = [module for module in network.modules() if isinstance(module, SpikingNeuron | SpikeSampler)]
    for neuron, current in zip(neurons, currents, strict=True):
        drawn = (network.config.seed, first_sample) if isinstance(neuron, SpikeSampler) else ()
        yield neuron(current.to(network.head.weight.dtype), *drawn)


@torch.inference_mode()
def free(network: Network, inputs: np.ndarray, first_sample: int) -> tuple[np.ndarray, list[Tensor]]:
    """Logits (B, C) or (B, T, C) of the whole network, and the spikes (B, N, T) of each spiking layer."""
    dtype = torch.long if network.config.tokens else network.head.weight.dtype
    logits, trains = network(torch.from_numpy(inputs).to(dtype), first_sample)
    return logits.numpy(), trains
