"""The block of SpikingSSM, and its parts, as layers: norms folded, SSM discretised, surrogate gone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from convert.modules.program_builder import ProgramBuilder
from spikestrip.operations import GLU, LIF, S4D, Affine, Join, LayerNorm, RefractoryLIF, Scale
from train import ssm
from train.networks import Block, SpikingNeuron


def add_block(builder: ProgramBuilder, name: str, block: Block, entering: str) -> tuple[str, str]:
    """Append the layers of ``block``; returns its output and its spikes."""
    norm = block.norm
    stream = add_norm(builder, f"{name}_norm", norm, entering) if block.config.prenorm else entering
    stream = builder.add(f"{name}_ssm", s4d(block.ssm), stream)
    spikes = builder.add(f"{name}_spike", neuron(block.neuron), stream)
    mix = affine(block.mix)
    skip = entering
    if isinstance(norm, nn.BatchNorm1d) and not block.config.prenorm:
        # norm(x + W s + b) = gain*x + (gain*W) s + (gain*b + shift); a gate keeps W, and only its value half is scaled
        gain, shift = _folded(norm)
        weight, bias = mix.weight.astype(np.float64), float64(block.mix.bias)
        rows = len(gain)
        weight[:rows] *= gain[:, None]
        bias[:rows] *= gain
        if block.config.mix == "glu":
            mixed = builder.add(f"{name}_mix", Affine(weight, bias), spikes)
            mixed = builder.add(f"{name}_gate", GLU(), mixed)
            skip = builder.add(f"{name}_skip", Affine(np.diag(gain), shift), entering)
        else:
            mixed = builder.add(f"{name}_mix", Affine(weight, bias + shift), spikes)
            skip = builder.add(f"{name}_skip", Scale(gain), entering)
    else:
        mixed = builder.add(f"{name}_mix", mix, spikes)
        if block.config.mix == "glu":
            mixed = builder.add(f"{name}_gate", GLU(), mixed)
    joined = builder.add(f"{name}_join", Join(), skip, mixed)
    if isinstance(norm, nn.LayerNorm) and not block.config.prenorm:
        joined = add_norm(builder, f"{name}_norm", norm, joined)
    return joined, spikes


def add_norm(builder: ProgramBuilder, name: str, norm: nn.Module, entering: str) -> str:
    """Append a norm in evaluation mode, where there is one; returns its output."""
    if isinstance(norm, nn.BatchNorm1d):
        gain, shift = _folded(norm)
        return builder.add(name, Affine(np.diag(gain), shift), entering)
    if isinstance(norm, nn.LayerNorm):
        return builder.add(name, LayerNorm(float32(norm.weight), float32(norm.bias), norm.eps), entering)
    return entering


def s4d(layer: ssm.S4D) -> S4D:
    discrete = layer.discretise()
    return S4D(**{**discrete._asdict(), "d": narrow(discrete.d)})


def neuron(module: SpikingNeuron) -> LIF | RefractoryLIF:
    held = module.neuron(torch.float64)
    decay = np.full(module.ln_vth.shape[0], module.config.tau)
    threshold = float64(held.vth)
    if held.tau_r is not None and held.uth is not None:
        return RefractoryLIF(decay, threshold, float64(held.tau_r), float64(held.uth), held.soft)
    return LIF(decay, threshold, reset_kind="soft" if held.reset == "soft" else "hard")


def affine(linear: nn.Linear) -> Affine:
    return Affine(float32(linear.weight), float32(linear.bias))


def float32(tensor: Tensor) -> np.ndarray:
    """In float32, or in float64 where that would round."""
    return narrow(tensor.detach().cpu().numpy() if tensor.dtype == torch.float32 else float64(tensor))


def narrow(values: np.ndarray) -> np.ndarray:
    single = values.astype(np.float32, copy=False)
    return single if np.array_equal(single, values) else values


def float64(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy().copy()


def _folded(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """gain and shift (H,) float64 with norm(x) = gain*x + shift: gain = weight/sqrt(var + eps)."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics can't be folded")
    gain = float64(norm.weight) / np.sqrt(float64(norm.running_var) + norm.eps)
    return gain, float64(norm.bias) - gain * float64(norm.running_mean)
