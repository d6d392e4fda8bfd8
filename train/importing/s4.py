"""The parts that both papers have from the S4 code (state-spaces/s4): encoder, decoder, norms, diagonal kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.importing import longspike
from train.importing.facts import Allowed, check_facts
from train.importing.weights import Weights

# SSMKernelDiag's options: what they have to be for its system to be ours
KERNEL: dict[str, Allowed] = {
    "disc": ("zoh", "bilinear"),
    "dt_transform": ("exp", "softplus"),
    "real_transform": ("exp",),
    "imag_transform": ("none",),
    "dt_fast": (False,),
    "bandlimit": (None,),
}


def encoder(weights: Weights, width: int) -> tuple[Tensor, Tensor, bool]:
    """weight (H, d_input), bias (H,), and whether tokens come in: the code's Linear has a bias, its Embedding none."""
    if "encoder.0.bias" in weights:
        return weights.take("encoder.0.weight", width, None), weights.take("encoder.0.bias", width), False
    weight = weights.take("encoder.0.weight", None, width)
    return weight.T.contiguous(), weight.new_zeros(width), True


def decoder(weights: Weights, width: int) -> tuple[Tensor, Tensor]:
    """weight (d_output, H) and bias (d_output,) of SequenceDecoder."""
    weight = weights.take("decoder.0.output_transform.weight", None, width)
    return weight, weights.take("decoder.0.output_transform.bias", weight.shape[0])


def norm(weights: Weights, prefix: str, width: int) -> tuple[str, dict[str, Tensor]]:
    """ "batch" or "layer", and the norm's weights by torch's names."""
    kind = "batch" if f"{prefix}running_mean" in weights else "layer"
    names = ["weight", "bias"] + (["running_mean", "running_var"] if kind == "batch" else [])
    state = {name: weights.take(prefix + name, width) for name in names}
    if kind == "batch":
        state["num_batches_tracked"] = weights.take(f"{prefix}num_batches_tracked")
    return kind, state


def ssm(
    weights: Weights, prefix: str, skip: str, kernel: dict[str, Any] | None, limits: dict[str, Any] | None = None
) -> dict[str, Tensor]:
    """The weights of our S4D from a kernel under ``prefix`` and its D, the weight ``skip``.

    ``kernel``: the options of SSMKernelDiag, None for the S4DKernel of the SpikingSSM code, which has B = 1:
    A = -exp(log_A_real) + i A_imag, K[l] = 2 Re sum_n C_n (exp(dt A_n) - 1)/A_n exp(l dt A_n).
    ``limits``: of a fractional kernel whose fractions are learned.
    """
    width = weights.width(skip)
    c = weights.take(f"{prefix}C", None, width, None, 2)
    channels, modes = c.shape[0], c.shape[2]
    if channels != 1:
        raise BadInput(
            weights.source,
            f"{prefix}C has {channels} channels where {skip} has 1: the kernels are bidirectional, they read the "
            "future, and no step can run them",
        )
    state = {"C": c[0], "D": weights.take(skip, 1, width)[0]}
    fractional = longspike.is_fractional(weights, prefix)
    if fractional and kernel is not None:
        raise BadInput(
            weights.source, f"{prefix} is a SSMKernelFrac, whose exponents are clipped at -50: no recurrence gives that"
        )
    if kernel is None:
        one = torch.tensor([1.0, 0.0], dtype=state["C"].dtype).expand(width, modes, 2).contiguous()
        state |= {"B": one, "log_dt": weights.take(f"{prefix}log_dt", width)}
        state |= {name: weights.take(prefix + name, width, modes) for name in ("log_A_real", "A_imag")}
        return longspike.spread(weights, prefix, state, limits) if fractional else state
    if f"{prefix}P" in weights:
        raise BadInput(
            weights.source, f"{prefix}P: the kernel is diagonal plus low-rank (nplr); only diagonal ones step"
        )
    check_facts(weights.source, kernel, KERNEL)
    dt = weights.take(f"{prefix}inv_dt", width, 1)[:, 0]
    copies = weights.take(f"{prefix}A_real", None, modes)
    repeat = width // max(1, len(copies))
    a_imag = weights.take(f"{prefix}A_imag", len(copies), modes)
    b = weights.take(f"{prefix}B", 1, len(copies), modes, 2)[0]
    if kernel["dt_transform"] == "softplus":
        dt = torch.nn.functional.softplus(dt.double()).log()
    return state | {
        "log_dt": dt, "log_A_real": copies.repeat(repeat, 1), "A_imag": -a_imag.repeat(repeat, 1),
        "B": b.repeat(repeat, 1, 1),
    }  # fmt: skip
