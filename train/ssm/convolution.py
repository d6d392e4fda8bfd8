"""Causal convolution of many sequences with one kernel per channel, by FFT."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable


@lru_cache(maxsize=32)
def _twist(length: int, n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """exp(i pi t / 2n) for t < length, and its conjugate."""
    angle = torch.arange(length, dtype=torch.float64, device=device) * (torch.pi / (2 * n))
    twist = torch.polar(torch.ones_like(angle), angle).to(torch.promote_types(dtype, torch.complex32))
    return twist, twist.conj().resolve_conj()


def _spectrum(x: Tensor, twist: Tensor, n: int) -> Tensor:
    # real times complex as one product of reals: several times faster than letting torch promote
    return torch.fft.fft(torch.view_as_complex(x.unsqueeze(-1) * torch.view_as_real(twist)), n)


def _causal(spectrum: Tensor, untwist: Tensor) -> Tensor:
    return torch.fft.ifft(spectrum)[..., : untwist.shape[0]].mul(untwist).real.contiguous()


class CausalConvolution(torch.autograd.Function):
    """y[t] = sum_{l <= t} k[l] x[t - l].

    Right-angle convolution: weighted with exp(i pi t/2n), a cyclic convolution of length n obeys z**n = i instead of
    z**n = 1, so what wraps around lands in the imaginary part and the real part is the causal half. One complex FFT
    of length n >= L does what zero padding does with a real one of length 2L. The backward pass reuses the spectrum
    of the input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor) -> Tensor:
        length = x.shape[-1]
        n = next_fast_len(length)
        twist, untwist = _twist(length, n, x.dtype, x.device)
        x_f, k_f = _spectrum(x, twist, n), _spectrum(k, twist, n)
        ctx.save_for_backward(x_f, k_f)
        return _causal(x_f * k_f, untwist)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x_f, k_f = ctx.saved_tensors
        length, n = grad.shape[-1], x_f.shape[-1]
        twist, untwist = _twist(length, n, grad.dtype, grad.device)
        grad_f = _spectrum(grad, twist, n)
        grad_x = _causal(grad_f * k_f.conj(), untwist)
        grad_k = _causal((grad_f * x_f.conj()).sum(0), untwist)
        return grad_x, grad_k


def causal_convolution(x: Tensor, k: Tensor) -> Tensor:
    """x (B, H, L) with k (H, L) -> (B, H, L), all of one dtype (float32 or float64)."""
    out: Tensor = CausalConvolution.apply(x, k)
    return out
