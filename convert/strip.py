"""From a network trained in parallel to its iterative program: surrogate gone, norms folded, SSM discretised."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from convert.strip_speck import strip_speck
from spikestrip.errors import Refused
from spikestrip.operations import (
    GELU,
    GLU,
    LIF,
    S4D,
    Affine,
    Bernoulli,
    Clamp,
    Join,
    LayerNorm,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
)
from spikestrip.program import INPUT, Layer, Program
from train.building import AnyNetwork
from train.networks import Block, SpikingNeuron
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
    chain = _Chain(config.layers * (8 if config.ssm_activation == "gelu" else 7) + 3)
    chain.add("encoder", _affine(network.encoder))
    for index, block in enumerate(network.blocks):
        if isinstance(block, ProbabilisticBlock):
            _strip_probabilistic(chain, f"block{index}", block)
        else:
            _strip_block(chain, f"block{index}", block)
    chain.add("head", _affine(network.head))
    if config.readout == "mean":
        chain.add("readout", LeakyIntegrator(np.ones(config.d_output)))
    layers = chain.layers
    if not share:
        layers = [dataclasses.replace(layer, operation=layer.operation.bind(np.copy)) for layer in layers]
    return Program((config.d_input,), tuple(layers), chain.last, config.readout)


class _Chain:
    """Layers in order of execution; the number in each name makes alphabetical order the same."""

    def __init__(self, longest: int) -> None:
        self.layers: list[Layer] = []
        self.last = INPUT
        self.digits = max(2, len(str(longest)))

    def add(self, name: str, operation: Operation, *inputs: str) -> str:
        """Append a layer that reads ``inputs`` (or else the last one); returns its full name."""
        full = f"n{len(self.layers):0{self.digits}d}_{name}"
        self.layers.append(Layer(full, operation, inputs or (self.last,)))
        self.last = full
        return full


def _strip_block(chain: _Chain, name: str, block: Block) -> None:
    entering = chain.last
    norm = block.norm
    if block.config.prenorm:
        _add_norm(chain, f"{name}_norm", norm)
    chain.add(f"{name}_ssm", _ssm(block))
    chain.add(f"{name}_spike", _neuron(block.neuron))
    mix = _affine(block.mix)
    skip = entering
    if isinstance(norm, nn.BatchNorm1d) and not block.config.prenorm:
        # norm(x + W s + b) = gain*x + (gain*W) s + (gain*b + shift); a gate keeps W, and only its value half is scaled
        gain, shift = _folded(norm)
        weight, bias = mix.weight.astype(np.float64), _float64(block.mix.bias)
        rows = len(gain)
        weight[:rows] *= gain[:, None]
        bias[:rows] *= gain
        if block.config.mix == "glu":
            mixed = chain.add(f"{name}_mix", Affine(weight, bias))
            mixed = chain.add(f"{name}_gate", GLU())
            skip = chain.add(f"{name}_skip", Affine(np.diag(gain), shift), entering)
        else:
            mixed = chain.add(f"{name}_mix", Affine(weight, bias + shift))
            skip = chain.add(f"{name}_skip", Scale(gain), entering)
    else:
        mixed = chain.add(f"{name}_mix", mix)
        if block.config.mix == "glu":
            mixed = chain.add(f"{name}_gate", GLU())
    chain.add(f"{name}_join", Join(), skip, mixed)
    if isinstance(norm, nn.LayerNorm) and not block.config.prenorm:
        chain.add(f"{name}_norm", _layer_norm(norm))


def _strip_probabilistic(chain: _Chain, name: str, block: ProbabilisticBlock) -> None:
    entering, seed = chain.last, block.config.seed
    chain.add(f"{name}_sample", _sampler(block.sample, seed))
    chain.add(f"{name}_ssm", _ssm(block))
    if block.config.ssm_activation == "gelu":
        chain.add(f"{name}_activation", GELU())
    chain.add(f"{name}_spike", _sampler(block.fire, seed))
    chain.add(f"{name}_mix", _affine(block.mixer.linear))
    activation: Operation = {nn.GELU: GELU(), nn.ReLU: Clamp(0.0), nn.GLU: GLU()}[type(block.mixer.activation)]
    mixed = chain.add(f"{name}_{activation.kind}", activation)
    if block.config.residual:
        chain.add(f"{name}_join", Join(), entering, mixed)
    _add_norm(chain, f"{name}_norm", block.fuse.norm)


def _add_norm(chain: _Chain, name: str, norm: nn.Module) -> None:
    if isinstance(norm, nn.BatchNorm1d):
        gain, shift = _folded(norm)
        chain.add(name, Affine(np.diag(gain), shift))
    elif isinstance(norm, nn.LayerNorm):
        chain.add(name, _layer_norm(norm))


def _affine(linear: nn.Linear) -> Affine:
    return Affine(_float32(linear.weight), _float32(linear.bias))


def _ssm(block: Block | ProbabilisticBlock) -> S4D:
    discrete = block.ssm.discretise()
    return S4D(**{**discrete._asdict(), "d": _narrow(discrete.d)})


def _sampler(module: SpikeSampler, seed: int) -> Bernoulli:
    return Bernoulli(_float32(module.a), _float32(module.b), seed, module.layer)


def _neuron(module: SpikingNeuron) -> LIF | RefractoryLIF:
    neuron = module.neuron(module.ln_vth.double().dtype)
    size = module.ln_vth.shape[0]
    decay = np.full(size, module.config.tau)
    threshold = _float64(neuron.vth)
    if neuron.tau_r is not None and neuron.uth is not None:
        return RefractoryLIF(decay, threshold, _float64(neuron.tau_r), _float64(neuron.uth), neuron.soft)
    return LIF(decay, threshold, reset_kind="soft" if neuron.reset == "soft" else "hard")


def _layer_norm(norm: nn.LayerNorm) -> LayerNorm:
    return LayerNorm(_float32(norm.weight), _float32(norm.bias), norm.eps)


def _folded(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """gain and shift (H,) float64 with norm(x) = gain*x + shift: gain = weight/sqrt(var + eps)."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics can't be folded")
    gain = _float64(norm.weight) / np.sqrt(_float64(norm.running_var) + norm.eps)
    return gain, _float64(norm.bias) - gain * _float64(norm.running_mean)


def _float32(tensor: Tensor) -> np.ndarray:
    """In float32, or in float64 where that would round."""
    return _narrow(tensor.detach().cpu().numpy() if tensor.dtype == torch.float32 else _float64(tensor))


def _narrow(values: np.ndarray) -> np.ndarray:
    narrow = values.astype(np.float32, copy=False)
    return narrow if np.array_equal(narrow, values) else values


def _float64(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy().copy()
