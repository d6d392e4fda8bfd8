"""A block of a training step as one differentiable function: S4D, neuron, mix, residual, BatchNorm; on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from train.fused import mix_kernels
from train.fused.layer import Layer, prepared, tiles_of
from train.fused.mix_kernels import ROWS
from train.neurons._buffers import empty
from train.neurons._lanes import LINE
from train.neurons.bits import Bits
from train.neurons.neuron import Neuron
from train.neurons.scan import on_threads
from train.ssm import S4D


def holds(mix: nn.Linear, norm: nn.Module, dropout: nn.Module, x: Tensor) -> bool:
    """Whether ``block`` computes this block for x (B, H, L), of which whole cache lines lie in every step."""
    return (
        type(norm) is nn.BatchNorm1d
        and norm.training
        and norm.momentum is not None
        and mix.in_features == mix.out_features
        and getattr(dropout, "p", 1) == 0
        and x.shape[1] % (LINE // x.element_size()) == 0
        and x.shape[0] * x.shape[2] > 1  # torch says what is wrong with one value a channel
    )


def block(x: Tensor, ssm: S4D, neuron: Neuron, mix: nn.Linear, norm: Any) -> tuple[Tensor, Bits]:
    """norm(x + mix(spikes)) for x (B, H, L), and the spikes of ``neuron`` fed by ``ssm``.

    The norm's running statistics move on. Raises BadInput for what S4D or the neuron refuses.
    """
    given, *others = prepared(x, ssm, neuron)
    out, rate, words, mean, variance = Block.apply(
        given, mix.weight, mix.bias, norm.weight, norm.bias, norm.eps, *others
    )
    rows = given.shape[0] * given.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (rows / (rows - 1)), norm.momentum)
    return out.transpose(1, 2), Bits(rate, words, x.shape[1])


class Block(torch.autograd.Function):
    """x (B, L, H) -> the normed sum (B, L, H); the rate; the spikes, (B, L, tiles) bits of W channels each; the sum's
    mean and variance, (H,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float,
        neuron: Neuron, leave: Tensor, enter: Tensor, carry: Tensor, *parameters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        width, rows = x.shape[2], x.shape[0] * x.shape[1]
        tasks, dtype = -(-rows // ROWS), x.dtype
        y, out = empty(x.shape, dtype), empty(x.shape, dtype)
        flat_x, flat_y = x.numpy().reshape(-1), y.numpy().reshape(-1)
        words = np.empty((*x.shape[:2], tiles_of(width)), np.uint32)
        ctx.layer = Layer(x, neuron, (leave, enter, carry), parameters)
        rate = ctx.layer.forward(x, flat_x[:0], words.reshape(-1))
        sums = np.empty((tasks, 2 * width), flat_y.dtype)
        on_threads(
            mix_kernels.forward, tasks, x.numel(), words.reshape(-1), weight.T.contiguous().numpy().reshape(-1),
            bias.numpy(), flat_x, width, flat_y, sums,
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
        ctx.save_for_backward(x, y, weight, gamma)
        ctx.of_channels, ctx.words = (mean, inverse), words
        results = (torch.from_numpy(words.view(np.int32)), *rounded[:2])
        ctx.mark_non_differentiable(*results)
        return out, x.new_tensor(rate), *results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, of_rate: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, y, weight, gamma = ctx.saved_tensors
        mean, inverse = ctx.of_channels
        batch, steps, width = y.shape
        rows, dtype = batch * steps, y.dtype
        tasks = -(-rows // ROWS)
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
        slope = scale * inverse**2 * products / rows
        constants = (scale, slope, scale * of_beta / rows + (rounded - mean) * slope)
        grad_y = empty(y.shape, dtype)
        of_columns = np.empty((tasks, width * width + width), kind)
        on_threads(
            mix_kernels.backward, tasks, y.numel(), *common, *(array.astype(kind) for array in constants),
            ctx.words.reshape(-1), grad_y.numpy().reshape(-1), of_columns,
        )  # fmt: skip
        found = torch.from_numpy(of_columns.sum(0, dtype=np.float64)).to(dtype)
        grad_fired = empty(y.shape, dtype)
        torch.mm(grad_y.view(rows, width), weight, out=grad_fired.view(rows, width))
        grad_x, *others = ctx.layer.backward(x, grad_fired, of_rate.item(), grad_y)
        of_norm = (torch.from_numpy(array).to(dtype) for array in (products * inverse, of_beta))
        of_mix = found[: width * width].view(width, width).T, found[width * width :]
        return (grad_x, *of_mix, *of_norm, None, None, *others)
