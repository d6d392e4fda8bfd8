"""Mix of spikes, residual and BatchNorm of a training step as one differentiable function, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from train.fused import mix_kernels
from train.fused.mix_kernels import ROWS
from train.neurons._buffers import empty
from train.neurons._lanes import LINE
from train.neurons.scan import on_threads


def holds(mix: nn.Linear, norm: nn.Module, dropout: nn.Module, x: Tensor) -> bool:
    """Whether ``mixed`` computes this block for x (B, L, H), of which whole cache lines lie in every step."""
    return (
        type(norm) is nn.BatchNorm1d
        and norm.training
        and norm.momentum is not None
        and mix.in_features == mix.out_features
        and getattr(dropout, "p", 1) == 0
        and x.shape[2] % (LINE // x.element_size()) == 0
        and x.shape[0] * x.shape[1] > 1  # torch says what is wrong with one value a channel
    )


def mixed(fired: Tensor, x: Tensor, mix: nn.Linear, norm: Any) -> Tensor:
    """norm(x + mix(fired)), for fired and x (B, L, H); spikes are 0 or 1. The norm's running statistics move on."""
    out, mean, variance = Mixed.apply(fired, x, mix.weight, mix.bias, norm.weight, norm.bias, norm.eps)
    rows = x.shape[0] * x.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (rows / (rows - 1)), norm.momentum)
    return out


def _tasks(rows: int) -> int:
    return -(-rows // ROWS)


class Mixed(torch.autograd.Function):
    """(B, L, H) twice -> the normed sum (B, L, H), its mean and its variance before the norm, (H,)."""

    @staticmethod
    def forward(
        ctx: Any, fired: Tensor, x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        width, rows = x.shape[2], x.shape[0] * x.shape[1]
        tasks, dtype = _tasks(rows), x.dtype
        y, out = empty(x.shape, dtype), empty(x.shape, dtype)
        sums = np.empty((tasks, 2 * width), y.numpy().dtype)
        reached = np.empty((tasks, width), np.int64)
        spikes, flat_y = fired.numpy().reshape(-1), y.numpy().reshape(-1)
        on_threads(
            mix_kernels.forward, tasks, x.numel(), spikes, weight.T.contiguous().numpy().reshape(-1), bias.numpy(),
            x.numpy().reshape(-1), width, flat_y, reached, sums,
        )  # fmt: skip
        counts = np.full(tasks, ROWS)
        counts[-1] = rows - ROWS * (tasks - 1)
        means, squares = sums.reshape(tasks, 2, width).astype(np.float64).swapaxes(0, 1)
        mean = counts @ means / rows
        variance = (squares.sum(0) + counts @ (means - mean) ** 2) / rows
        inverse = 1 / np.sqrt(variance + eps)
        scale = inverse * gamma.numpy()
        rounded = [torch.from_numpy(array).to(dtype) for array in (mean, variance, scale, beta.numpy() - mean * scale)]
        arrays = (rounded[2].numpy(), rounded[3].numpy(), out.numpy().reshape(-1))
        on_threads(mix_kernels.normalise, tasks, x.numel(), flat_y, width, *arrays)
        ctx.save_for_backward(fired, y, weight, gamma)
        ctx.of_channels, ctx.reached = (mean, inverse), reached
        ctx.mark_non_differentiable(*rounded[:2])
        return out, rounded[0], rounded[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        fired, y, weight, gamma = ctx.saved_tensors
        mean, inverse = ctx.of_channels
        batch, steps, width = y.shape
        rows, tasks, dtype = batch * steps, _tasks(batch * steps), y.dtype
        if grad.stride(2) != 1:  # one step's channels lie side by side; steps may share them
            grad = grad.contiguous()
        kind = y.numpy().dtype
        rounded = mean.astype(kind)
        flat = torch.as_strided(grad, ((batch - 1) * grad.stride(0) + (steps - 1) * grad.stride(1) + width,), (1,))
        starts = np.add.outer(np.arange(batch) * grad.stride(0), np.arange(steps) * grad.stride(1)).ravel()
        common = (flat.numpy(), starts, y.numpy().reshape(-1), rounded, width)
        sums = np.empty((tasks, 2 * width), kind)
        on_threads(mix_kernels.sum_gradients, tasks, y.numel(), *common, sums)
        of_beta, products = sums.reshape(tasks, 2, width).sum(0, dtype=np.float64)
        scale = inverse * gamma.numpy()
        products += (rounded - mean) * of_beta  # about the mean itself
        of_gamma = products * inverse
        slope = scale * inverse**2 * products / rows
        constants = (scale, slope, scale * of_beta / rows + (rounded - mean) * slope)
        grad_y = empty(y.shape, dtype)
        of_columns = np.empty((tasks, width * width + width), kind)
        on_threads(
            mix_kernels.backward, tasks, y.numel(), *common, *(array.astype(kind) for array in constants),
            fired.numpy().reshape(-1), ctx.reached, grad_y.numpy().reshape(-1), of_columns,
        )  # fmt: skip
        found = torch.from_numpy(of_columns.sum(0, dtype=np.float64)).to(dtype)
        grad_fired = empty(y.shape, dtype)
        torch.mm(grad_y.view(rows, width), weight, out=grad_fired.view(rows, width))
        of_norm = (torch.from_numpy(array).to(dtype) for array in (of_gamma, of_beta))
        return (
            grad_fired, grad_y, found[: width * width].view(width, width).T, found[width * width :], *of_norm, None,
        )  # fmt: skip
