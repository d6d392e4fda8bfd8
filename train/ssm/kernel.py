"""The convolution kernel of a diagonal state-space layer, made without ever holding an (H, N, L) tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Both power tables of one slice of channels stay within this many bytes: inside a core's L2 cache, or, on an
# accelerator, in as few launches as memory allows.
CACHE = 1 << 20
DEVICE_MEMORY = 1 << 28


class Powers(torch.autograd.Function):
    """a**0, ..., a**(count - 1) by doubling: (H, N) -> (H, count, N)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, count: int) -> Tensor:
        table, step = torch.ones_like(a).unsqueeze(1), a.unsqueeze(1)
        while table.shape[1] < count:
            table = torch.cat((table, table[:, : count - table.shape[1]] * step), 1)
            step = step * step
        ctx.save_for_backward(table)
        return table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (table,) = ctx.saved_tensors
        exponents = torch.arange(1, grad.shape[1], device=grad.device, dtype=torch.float64)
        derivative = table[:, :-1].conj() * exponents.unsqueeze(-1)
        return (grad[:, 1:] * derivative).sum(1), None


def powers(a: Tensor, count: int) -> Tensor:
    """a**0, ..., a**(count - 1): complex128 (H, N) -> (H, count, N)."""
    out: Tensor = Powers.apply(a, count)
    return out


def _pairs(z: Tensor) -> Tensor:
    """Complex (H, R, N) as real (H, R, 2N), the same memory."""
    return torch.view_as_real(z).flatten(-2)


def _slices(a: Tensor, length: int) -> Iterator[tuple[slice, int, Tensor, Tensor]]:
    """Channels, offsets, and the tables a**(block * offsets) and a**offset: together they hold every power below L."""
    offsets = math.isqrt(length - 1) + 1
    blocks = -(-length // offsets)
    budget = CACHE if a.device.type == "cpu" else DEVICE_MEMORY
    channels = max(1, budget // ((blocks + offsets) * a.shape[1] * a.element_size()))
    for first in range(0, a.shape[0], channels):
        at = slice(first, first + channels)
        table = powers(a[at], offsets)
        yield at, offsets, powers(table[:, -1] * a[at], blocks), table


class Vandermonde(torch.autograd.Function):
    """K[l] = 2 Re(sum_n w_n a_n**l) for l < L.

    With l = offsets*i + j the power splits, a**l = a**(offsets*i) * a**j, so that two tables of about sqrt(L) columns
    and one real matrix product per channel give all of K. The gradients are the transposed sums,
    dL/dw_n = 2 conj(sum_l g[l] a_n**l) and dL/da_n = 2 conj(w_n sum_l (l + 1) g[l + 1] a_n**l), made the same way.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, w: Tensor, length: int) -> Tensor:
        ctx.save_for_backward(a, w)
        kernel = a.real.new_empty(a.shape[0], length)
        for at, _, blocks, offsets in _slices(a, length):
            left = _pairs((2 * w[at].unsqueeze(1) * blocks).conj().resolve_conj())
            kernel[at] = torch.bmm(left, _pairs(offsets).mT).flatten(1)[:, :length]
        return kernel

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        a, w = ctx.saved_tensors
        length = grad.shape[1]
        sums = a.new_empty(2, *a.shape)
        weight = torch.arange(1, length, dtype=grad.dtype, device=grad.device)
        for at, offset_count, blocks, offsets in _slices(a, length):
            rows = grad.new_zeros(2, offsets.shape[0], blocks.shape[1] * offset_count)
            rows[0, :, :length] = grad[at]
            torch.mul(grad[at, 1:], weight, out=rows[1, :, : length - 1])
            rows = rows.unflatten(-1, (-1, offset_count))
            inner = torch.view_as_complex(torch.matmul(rows, _pairs(offsets)).unflatten(-1, (-1, 2)))
            sums[:, at] = (inner * blocks).sum(2)
        return 2 * (w * sums[1]).conj(), 2 * sums[0].conj(), None


def kernel(a: Tensor, w: Tensor, length: int) -> Tensor:
    """Impulse response 2 Re(sum_n w_n a_n**l), l < length: complex128 (H, N) twice -> float64 (H, length)."""
    out: Tensor = Vandermonde.apply(a, w, length)
    return out
