"""Causal convolution with the kernel of a diagonal state-space layer, block by block, in matrix products."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.ssm.kernel import powers


def block_length(length: int) -> int:
    """Steps in a block: all of a short sequence, or the multiple of 8 near 64 that pads least, the longest of equals.

    Near 64 the work inside a block and the work for the states weigh about the same (16 to 32 modes).
    """
    return length if length <= 72 else min(range(72, 40, -8), key=lambda steps: -length % steps)


def tables(a: Tensor, w: Tensor, d: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a block of ``steps`` inputs does, from Abar, C Bbar (complex128 (H, N)) and D (H,); all in float64.

    response  (H, steps)         y[j] += sum_{i <= j} x[i] response[j - i]; response[0] includes D
    enter     (H, steps, 2N)     state += x[i] a**(steps - 1 - i)
    leave     (H, steps, 2N)     y[j] += 2 Re(state w a**(j + 1))
    carry     (H, N) complex     state a**steps is what the next block sees
    """
    power = powers(a, steps + 1)
    weighted = 2 * w.unsqueeze(1) * power
    response = weighted[:, :steps].real.sum(-1)
    response = torch.cat((response[:, :1] + d.unsqueeze(-1), response[:, 1:]), -1)
    enter = torch.view_as_real(power[:, :steps].flip(1)).flatten(-2)
    leave = torch.view_as_real(weighted[:, 1:].conj().resolve_conj()).flatten(-2)
    return response, enter, leave, power[:, steps]


def toeplitz(response: Tensor) -> Tensor:
    """(H, steps) -> (H, steps in, steps out): response[out - in], 0 above the past."""
    steps = response.shape[1]
    return F.pad(response, (steps - 1, 0)).unfold(-1, steps, 1).flip(1)


def _diagonal_sums(matrix: Tensor) -> Tensor:
    """The adjoint of toeplitz: (H, steps in, steps out) -> (H, steps), the sum along each upper diagonal."""
    channels, steps, _ = matrix.shape
    # Rows of 2 steps read as rows of 2 steps - 1: each row moves one place further to the right.
    skewed = F.pad(matrix.flip(1), (0, steps)).flatten(1)[:, : steps * (2 * steps - 1)]
    return skewed.view(channels, steps, -1).sum(1)[:, steps - 1 :]


def _to_blocks(x: Tensor, steps: int) -> Tensor:
    """(B, H, L) -> (H, blocks, B, steps), zeros after the end."""
    batch, channels, length = x.shape
    x = F.pad(x, (0, -length % steps)) if length % steps else x
    return x.view(batch, channels, -1, steps).permute(1, 2, 0, 3).contiguous()


def _to_sequences(x: Tensor, length: int) -> Tensor:
    """(H, blocks, B, steps) -> (B, H, L)."""
    return x.permute(2, 0, 1, 3).flatten(-2)[..., :length].contiguous()


def _rows(x: Tensor) -> Tensor:
    """The blocks of all sequences as the rows of one matrix per channel: a view."""
    return x.view(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (x.shape[-1] // 2, 2)))


class BlockConvolution(torch.autograd.Function):
    """Inside a block a Toeplitz product; between blocks the state, S_i = carry S_{i-1} + enter(x_i).

    One step of the recurrence is taken per block instead of per input, and everything else is a matrix product per
    channel. The backward pass is the same walk from the last block to the first.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, response: Tensor, enter: Tensor, leave: Tensor, carry: Tensor) -> Tensor:
        inside = toeplitz(response)
        blocks = _to_blocks(x, response.shape[1])
        channels, count, batch, _ = blocks.shape
        states = torch.bmm(_rows(blocks[:, :-1]), enter).view(channels, count - 1, batch, enter.shape[2])
        state = _complex(states)
        for i in range(1, count - 1):
            state[:, i].addcmul_(state[:, i - 1], carry.unsqueeze(1))
        y = torch.bmm(_rows(blocks), inside).view_as(blocks)
        _rows(y[:, 1:]).baddbmm_(_rows(states), leave.mT)
        ctx.save_for_backward(blocks, states, inside, enter, leave, carry)
        return _to_sequences(y, x.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        blocks, states, inside, enter, leave, carry = ctx.saved_tensors
        grads = _to_blocks(grad, inside.shape[1])
        later = _rows(grads[:, 1:])
        grad_states = torch.bmm(later, leave).view_as(states)
        grad_state, back = _complex(grad_states), carry.conj().resolve_conj().unsqueeze(1)
        for i in range(states.shape[1] - 1, 0, -1):
            grad_state[:, i - 1].addcmul_(grad_state[:, i], back)
        grad_x = torch.bmm(_rows(grads), inside.mT).view_as(blocks)
        _rows(grad_x[:, :-1]).baddbmm_(_rows(grad_states), enter.mT)
        return (
            _to_sequences(grad_x, grad.shape[-1]),
            _diagonal_sums(torch.bmm(_rows(blocks).mT, _rows(grads))),
            torch.bmm(_rows(blocks[:, :-1]).mT, _rows(grad_states)),
            torch.bmm(later.mT, _rows(states)),
            (grad_state[:, 1:] * _complex(states)[:, :-1].conj()).sum((1, 2)),
        )


def block_convolution(x: Tensor, a: Tensor, w: Tensor, d: Tensor) -> Tensor:
    """x (B, H, L) float32 or float64; Abar and C Bbar complex128 (H, N), D float64 (H,) -> y (B, H, L) like x."""
    response, enter, leave, carry = tables(a, w, d, block_length(x.shape[-1]))
    carry = carry.to(torch.promote_types(x.dtype, torch.complex32))
    out: Tensor = BlockConvolution.apply(x, response.to(x.dtype), enter.to(x.dtype), leave.to(x.dtype), carry)
    return out
