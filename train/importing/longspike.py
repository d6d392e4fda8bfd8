"""LongSpike (also LoongSpike): the SDN repository's network with a fractional kernel, LoongSpikeKernel.

The fractional derivative is a sum of exponentials, so the kernel is a diagonal system of M copies of the modes:
A' = eta_m A - omega_m, C' = eta_m C, B' = A'/(A' + 1e-8) (which their code adds where it divides).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.importing.facts import Allowed, check_facts
from train.importing.weights import Weights

LIMITS: dict[str, Allowed] = dict.fromkeys(("omega_min", "omega_max", "eta_min", "eta_max"), "a number")
"""Between which omega and eta are learned; options of their kernel, which the weights don't hold."""


def is_fractional(weights: Weights, prefix: str) -> bool:
    return f"{prefix}omega_logit" in weights or f"{prefix}omega" in weights


def spread(weights: Weights, prefix: str, state: dict[str, Tensor], limits: dict[str, Any] | None) -> dict[str, Tensor]:
    """``state`` of one S4DKernel, C, D, log_dt, log_A_real, A_imag, with the M copies that ``prefix`` says.

    ``limits``: None where omega and eta aren't learned.
    """
    if limits is None:
        omega, eta = (weights.take(prefix + name, None).double() for name in ("omega", "eta"))
    else:
        check_facts(weights.source, limits, LIMITS)
        omega, eta = (_bounded(weights.take(f"{prefix}{name}_logit", None), name, limits) for name in ("omega", "eta"))
    a = torch.complex(-state["log_A_real"].double().exp(), state["A_imag"].double())[:, None]
    c = torch.view_as_complex(state["C"].double())[:, None]
    a = (eta[:, None] * a - omega[:, None]).flatten(1)
    c = (eta[:, None] * c).flatten(1)
    b = torch.where(a.abs() < 1e-6, torch.ones_like(a), a / (a + 1e-8))
    return state | {
        "log_A_real": (-a.real).log(), "A_imag": a.imag.contiguous(),
        "B": torch.view_as_real(b), "C": torch.view_as_real(c),
    }  # fmt: skip


def _bounded(logit: Tensor, name: str, limits: dict[str, Any]) -> Tensor:
    low, high = float(limits[f"{name}_min"]), float(limits[f"{name}_max"])
    return low + logit.double().sigmoid() * (high - low)
