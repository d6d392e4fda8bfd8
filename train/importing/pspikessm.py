"""P-SpikeSSM: SequenceModel, SequenceResidualBlock and S4Block of the public fork kartikay24/PSpikeSSMs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.importing import s4
from train.importing.facts import Allowed, check_facts
from train.importing.weights import Translated, Weights

NEEDED: dict[str, Allowed] = {
    "prenorm": (True, False),
    "residual": ("R", None),
    "activation": ("gelu", None),
    "readout": ("mean", "sequence"),
    "kernel": "an object",
}
EPS = 1e-5  # of torch's BatchNorm1d


def translate(weights: Weights, facts: dict[str, Any]) -> Translated:
    """p = [norm](inp_a x + inp_b), sample;  z = activation(S4(s));  p' = out_a z + out_b, sample;  GELU(W s' + b) + x,
    with residual null without that x;  [norm].

    A BatchNorm before the sampler is folded into its a and b, the one after the last block into the head, both with
    their running statistics and eps. What the fork holds and never uses is left out: output_linear, inp2_a, inp2_b.
    """
    prefix = "model." if "model.layers.0.inp_a" in weights else ""
    for name in weights.left:
        if "reverse_layer" in name or ".bidirectional_linear." in name:
            raise BadInput(weights.source, f"{name}: its layers are bidirectional: they read the future")
    check_facts(weights.source, facts, NEEDED)
    prenorm, kinds = facts["prenorm"], set()
    width = weights.width(f"{prefix}layers.0.inp_a")
    embed, shift, tokens = s4.encoder(weights, width)
    layers = weights.count(f"{prefix}layers.")
    state = {"encoder.weight": embed, "encoder.bias": shift}
    for index in range(layers):
        theirs, ours = f"{prefix}layers.{index}.", f"blocks.{index}."
        ssm = s4.ssm(weights, f"{theirs}layer.layer.kernel.", f"{theirs}layer.layer.D", facts["kernel"])
        state |= {f"{ours}ssm.{name}": value for name, value in ssm.items()}
        a, b = weights.take(f"{theirs}inp_a", width), weights.take(f"{theirs}inp_b", width)
        kind, norm = s4.norm(weights, f"{theirs}norm.norm.", width)
        kinds.add(kind)
        if prenorm:
            a, b = _fold(weights, norm, a, b)
        else:
            state |= {f"{ours}fuse.norm.{name}": value for name, value in norm.items()}
        state |= {f"{ours}sample.a": a, f"{ours}sample.b": b}
        state |= {f"{ours}fire.{part}": weights.take(f"{theirs}out_{part}", width) for part in "ab"}
        state[f"{ours}mixer.linear.weight"] = weights.take(f"{theirs}bidirectional_linear1.weight", width, width)
        state[f"{ours}mixer.linear.bias"] = weights.take(f"{theirs}bidirectional_linear1.bias", width)
        for unused in ("layer.output_linear.", "inp2_"):
            weights.take_all(theirs + unused)
    head, bias = s4.decoder(weights, width)
    if prenorm:
        _, norm = s4.norm(weights, f"{prefix}norm.norm.", width)
        gain, offset = _fold(weights, norm, torch.ones(width), torch.zeros(width))
        head, bias = head.double() * gain, bias.double() + head.double() @ offset
    state |= {"head.weight": head, "head.bias": bias}
    if len(kinds) > 1:
        raise BadInput(weights.source, "its layers have different norms; ours have one")
    config = {
        "model": "pspikessm", "reset": "none", "d_input": embed.shape[1], "d_output": len(bias), "d_model": width,
        "d_state": state["blocks.0.ssm.C"].shape[1], "layers": layers, "tokens": tokens,
        "norm": "none" if prenorm else kinds.pop(), "readout": facts["readout"], "ssm_rule": facts["kernel"]["disc"],
        "ssm_activation": facts["activation"] or "none", "residual": facts["residual"] is not None,
    }  # fmt: skip
    return Translated(config, state)


def _fold(weights: Weights, norm: dict[str, Tensor], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(a', b') float64 with a' x + b' = BatchNorm(a x + b), in evaluation mode."""
    if "running_var" not in norm:
        raise BadInput(weights.source, "a LayerNorm before the sampler can't be folded; only BatchNorm can")
    gain = norm["weight"].double() / (norm["running_var"].double() + EPS).sqrt()
    return gain * a.double(), gain * (b.double() - norm["running_mean"].double()) + norm["bias"].double()
