"""From a network trained in parallel to its iterative program: surrogate gone, norms folded, SSM discretised."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import nn

from convert.modules.program_builder import ProgramBuilder
from convert.strip_block import add_block, add_norm, affine, float32, s4d
from convert.strip_speck import strip_speck
from spikestrip.errors import Refused
from spikestrip.operations import GELU, GLU, Bernoulli, Clamp, Join, LeakyIntegrator, Operation
from spikestrip.program import INPUT, Program
from train.building import AnyNetwork
from train.neurons.bernoulli import SpikeSampler
from train.pspikessm import ProbabilisticBlock
from train.speck import SpeckNetwork


def strip(network: AnyNetwork, *, share: bool = False) -> Program:
    """The program of ``network`` in evaluation mode.

    Weights stay float32 (float64 where that would round them); what is derived from them (Abar, Bbar, C, thresholds,
    and weights into which a BatchNorm is folded) is computed in float64 and kept so. The method that computed the
    spikes in parallel leaves no trace.
    ``share``: the program keeps the network's own memory, for a network that nobody changes afterwards.
    Raises Refused for complex weights.
    """
    for weight, value in network.state_dict().items():
        if value.is_complex():
            raise Refused(weight, "is complex, and a weight is real: its imaginary part would be lost")
    if isinstance(network, SpeckNetwork):
        return strip_speck(network)
    config = network.config
    builder = ProgramBuilder((config.d_input,), config.layers * (8 if config.ssm_activation == "gelu" else 7) + 3)
    stream = builder.add("encoder", affine(network.encoder), INPUT)
    for index, block in enumerate(network.blocks):
        if isinstance(block, ProbabilisticBlock):
            stream = _add_probabilistic(builder, f"block{index}", block, stream)
        else:
            stream, _ = add_block(builder, f"block{index}", block, stream)
    stream = builder.add("head", affine(network.head), stream)
    if config.readout == "mean":
        stream = builder.add("readout", LeakyIntegrator(np.ones(config.d_output)), stream)
    layers = tuple(builder.layers.values())
    if not share:
        layers = tuple(dataclasses.replace(layer, operation=layer.operation.bind(np.copy)) for layer in layers)
    return Program((config.d_input,), layers, stream, config.readout)


def _add_probabilistic(builder: ProgramBuilder, name: str, block: ProbabilisticBlock, entering: str) -> str:
    seed = block.config.seed
    stream = builder.add(f"{name}_sample", _sampler(block.sample, seed), entering)
    stream = builder.add(f"{name}_ssm", s4d(block.ssm), stream)
    if block.config.ssm_activation == "gelu":
        stream = builder.add(f"{name}_activation", GELU(), stream)
    stream = builder.add(f"{name}_spike", _sampler(block.fire, seed), stream)
    stream = builder.add(f"{name}_mix", affine(block.mixer.linear), stream)
    activation: Operation = {nn.GELU: GELU(), nn.ReLU: Clamp(0.0), nn.GLU: GLU()}[type(block.mixer.activation)]
    stream = builder.add(f"{name}_{activation.kind}", activation, stream)
    if block.config.residual:
        stream = builder.add(f"{name}_join", Join(), entering, stream)
    return add_norm(builder, f"{name}_norm", block.fuse.norm, stream)


def _sampler(module: SpikeSampler, seed: int) -> Bernoulli:
    return Bernoulli(float32(module.a), float32(module.b), seed, module.layer)
