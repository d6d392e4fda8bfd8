"""SpikingSSM: SS4D and SpikingSSM of models/spike/ss4d.py in the SDN repository."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.importing import adaptive, s4
from train.importing.facts import Allowed, check_facts
from train.importing.weights import Translated, Weights


def translate(weights: Weights, facts: dict[str, Any]) -> Translated:
    """x -> [norm] -> S4D -> /exp(ln_vth) -> neuron at threshold 1 -> conv, GLU -> + x.

    Without prenorm the code computes a norm of the block's output and drops it: norm "none".
    """
    prefix = "model." if "model.s4_layers.0.kernel.C" in weights else ""
    needed: dict[str, Allowed] = {"prenorm": (True, False), "readout": ("mean", "sequence"), "tau": "a number"}
    trained_b = f"{prefix}s4_layers.0.kernel.inv_dt" in weights  # SSMKernelDiag, in place of S4DKernel
    if trained_b:
        needed["kernel"] = "an object"
    if f"{prefix}s4_layers.0.kernel.omega_logit" in weights:  # LongSpike
        needed["fraction"] = "an object"
    adapted = adaptive.is_adaptive(weights)
    check_facts(weights.source, facts, needed)
    width = weights.width(f"{prefix}s4_layers.0.D")
    if adapted:
        embed, head, bias = adaptive.encoder_and_head(weights, width)
        shift, tokens = torch.zeros(width), True
    else:
        embed, shift, tokens = s4.encoder(weights, width)
        head, bias = s4.decoder(weights, width)
    layers = weights.count(f"{prefix}s4_layers.")
    state = {"encoder.weight": embed, "encoder.bias": shift}
    kinds, surrogates = set(), []
    learned = f"{prefix}s4_layers.0.ln_vth" in weights
    for index in range(layers):
        theirs, ours = f"{prefix}s4_layers.{index}.", f"blocks.{index}."
        ssm = s4.ssm(weights, f"{theirs}kernel.", f"{theirs}D", facts.get("kernel"), facts.get("fraction"))
        state |= {f"{ours}ssm.{name}": value for name, value in ssm.items()}
        state[f"{ours}neuron.ln_vth"] = _threshold(weights, f"{theirs}ln_vth", width) if learned else torch.zeros(width)
        state[f"{ours}mix.weight"] = weights.take(f"{theirs}output_linear.0.weight", 2 * width, width, 1)[:, :, 0]
        state[f"{ours}mix.bias"] = weights.take(f"{theirs}output_linear.0.bias", 2 * width)
        kind, norm = s4.norm(weights, f"{prefix}norms.{index}.", width)
        kinds.add(kind)
        if facts["prenorm"]:
            state |= {f"{ours}norm.{name}": value for name, value in norm.items()}
        surrogates.append(weights.take_all(f"{theirs}neuron.model."))
    state |= {"head.weight": head, "head.bias": bias}
    if len(kinds) > 1 or any(not _equal(surrogate, surrogates[0]) for surrogate in surrogates):
        raise BadInput(weights.source, "its layers have different norms or surrogates; ours have one")
    config = {
        "model": "spikingssm", "d_input": embed.shape[1], "d_output": state["head.weight"].shape[0], "d_model": width,
        "d_state": state["blocks.0.ssm.C"].shape[1], "layers": layers, "mix": "glu", "tokens": tokens,
        "norm": kinds.pop() if facts["prenorm"] else "none", "prenorm": facts["prenorm"], "readout": facts["readout"],
        "tau": float(facts["tau"]), "learn_threshold": learned, "tie_dropout": True, "drop_spikes": True,
        "ssm_rule": facts["kernel"]["disc"] if trained_b else "zoh", "parallel": "sdn" if surrogates[0] else "scan",
    }  # fmt: skip
    return Translated(config, state, surrogates[0])


def _threshold(weights: Weights, name: str, width: int) -> Tensor:
    """(H,) of (H, 1), or of the one that all channels share, (1,)."""
    shared = name in weights and weights.left[name].ndim == 1
    return weights.take(name, 1).repeat(width) if shared else weights.take(name, width, 1)[:, 0]


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
