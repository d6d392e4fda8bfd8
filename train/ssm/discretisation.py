"""From a continuous diagonal system to one that steps: the only place where this formula stands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float64 = NDArray[np.float64]


class Discrete(NamedTuple):
    """What the layer is when it runs step by step, in float64 (N modes, H channels; modes first).

    h[t] = (a_re + i a_im) h[t-1] + (b_re + i b_im) x[t];   y[t] = 2 Re(sum_n (c_re + i c_im)_n h_n[t]) + d x[t]

    ``a_*``, ``b_*``, ``c_*``: (N, H).  ``d``: (H,).
    """

    a_re: Float64
    a_im: Float64
    b_re: Float64
    b_im: Float64
    c_re: Float64
    c_im: Float64
    d: Float64


def _expm1(z: Tensor) -> Tensor:
    """exp(z) - 1 without the cancellation near 0; torch has none for complex numbers."""
    x, y = z.real, z.imag
    return torch.complex(torch.expm1(x) * torch.cos(y) - 2 * torch.sin(y / 2) ** 2, torch.exp(x) * torch.sin(y))


def _zoh(dt: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    return torch.exp(dt * a), _expm1(dt * a) / a


def _bilinear(dt: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    half = dt * a / 2
    return (1 + half) / (1 - half), dt / (1 - half)


RULES = {"zoh": _zoh, "bilinear": _bilinear}


def discretise(log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor, b: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """(Abar, Bbar) of h' = A h + B x with A = -exp(log_a_real) + i a_imag and steps of dt = exp(log_dt).

    zoh        Abar = exp(dt A)                      Bbar = (exp(dt A) - 1)/A * B
    bilinear   Abar = (1 + dt A/2)/(1 - dt A/2)      Bbar = dt/(1 - dt A/2) * B

    ``log_dt`` (H,), ``log_a_real`` and ``a_imag`` (H, N), ``b`` (H, N, 2) as real pairs. Returns two complex128
    tensors (H, N), whatever the dtype of the parameters; differentiable.
    """
    dt = torch.exp(log_dt.double()).unsqueeze(-1)
    a = torch.complex(-torch.exp(log_a_real.double()), a_imag.double())
    a_bar, b_bar = RULES[rule](dt, a)
    return a_bar, b_bar * torch.view_as_complex(b.double())
