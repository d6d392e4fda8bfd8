"""A block of a training step as one differentiable function: S4D, neuron, mix, tied dropout, residual, BatchNorm; on
the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from train.fused import mix_kernels
from train.fused.layer import Kernel, Layer, prepared, tiles_of
from train.neurons._buffers import empty
from train.neurons._lanes import LINE
from train.neurons.bits import Bits
from train.neurons.neuron import Neuron
from train.neurons.scan import on_threads
from train.ssm import S4D
from train.threads import loops

ROWS = 256  # of float32 and 64 channels 64 KB, which stay in the cache for a second look


def holds(mix: nn.Linear, norm: nn.Module, dropout: nn.Module, x: Tensor) -> bool:
    """Whether ``block`` computes this block for x (B, H, L), of which whole cache lines lie in every step."""
    return (
        type(norm) is nn.BatchNorm1d
        and norm.training
        and norm.momentum is not None
        and mix.in_features == mix.out_features
        and (isinstance(dropout, nn.Dropout1d) or getattr(dropout, "p", 1) == 0)
        and x.shape[1] % (LINE // x.element_size()) == 0
        and x.shape[0] * x.shape[2] > 1  # torch says what is wrong with one value a channel
    )


def block(x: Tensor, ssm: S4D, neuron: Neuron, mix: nn.Linear, norm: Any, dropout: Any) -> tuple[Tensor, Bits]:
    """norm(x + dropout(mix(spikes))) for x (B, H, L), and the spikes of ``neuron`` fed by ``ssm``.

    The norm's running statistics move on. Raises BadInput for what S4D or the neuron refuses.
    """
    given, *others = prepared(x, ssm, neuron)
    # drawn as it would be for x
    mask = dropout(x.new_ones(*x.shape[:2], 1)).flatten() if dropout.p else x.new_empty(0)
    out, rate, words, mean, variance = Block.apply(
        given, mix.weight, mix.bias, norm.weight, norm.bias, norm.eps, mask, *others
    )
    rows = given.shape[0] * given.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (rows / (rows - 1)), norm.momentum)
    return out.transpose(1, 2), Bits(rate, words, x.shape[1])


class Rows:
    """The rows of (B, L) as the mix's tasks: ROWS at most, none of which lies in two groups of ``samples``.

    bounds (tasks + 1,): task i has the rows from bounds[i] on to the next.
    """

    def __init__(self, batch: int, steps: int, samples: int) -> None:
        group = samples * steps
        self.each = -(-group // ROWS)  # tasks of a group
        of_group = np.minimum(np.arange(self.each) * ROWS, group)
        starts = np.add.outer(np.arange(0, batch * steps, group), of_group).ravel()
        self.bounds = np.append(starts[starts < batch * steps], batch * steps)
        self.tasks = len(self.bounds) - 1

    def of(self, group: int) -> tuple[int, int]:
        """The first of a group's tasks, and the next group's."""
        return group * self.each, min((group + 1) * self.each, self.tasks)


class Block(torch.autograd.Function):
    """x (B, L, H) -> the normed sum (B, L, H); the rate; the spikes, (B, L, tiles) bits of W channels each; the sum's
    mean and variance, (H,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float,
        mask: Tensor, neuron: Neuron, leave: Tensor, enter: Tensor, carry: Tensor, *parameters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        width, rows, dtype = x.shape[2], x.shape[0] * x.shape[1], x.dtype
        y, out = empty(x.shape, dtype), empty(x.shape, dtype)
        flat_x, flat_y = x.numpy().reshape(-1), y.numpy().reshape(-1)
        words = np.empty((*x.shape[:2], tiles_of(width)), np.uint32)
        ctx.layer = Layer(x, neuron, (leave, enter, carry), parameters)
        ctx.rows = Rows(x.shape[0], x.shape[1], ctx.layer.samples)
        sums = np.empty((ctx.rows.tasks, 2 * width), flat_y.dtype)
        columns = weight.T.contiguous().numpy().reshape(-1)
        arrays = (words.reshape(-1), columns, bias.numpy(), mask.numpy(), x.shape[1], flat_x, width, flat_y)

        def mix(group: int) -> None:
            mix_kernels.forward(*ctx.rows.of(group), ctx.rows.bounds, *arrays, sums)

        rate = ctx.layer.forward(x, flat_x[:0], words.reshape(-1), mix)
        counts = np.diff(ctx.rows.bounds)
        means, squares = sums.reshape(-1, 2, width).astype(np.float64).swapaxes(0, 1)
        mean = counts @ means / rows
        variance = (squares.sum(0) + counts @ (means - mean) ** 2) / rows
        inverse = 1 / np.sqrt(variance + eps)
        scale = inverse * gamma.numpy()
        rounded = [torch.from_numpy(array).to(dtype) for array in (mean, variance, scale, beta.numpy() - mean * scale)]
        on_threads(
            mix_kernels.normalise, ctx.rows.tasks, x.numel(), ctx.rows.bounds, flat_y, width,
            rounded[2].numpy(), rounded[3].numpy(), out.numpy().reshape(-1),
        )  # fmt: skip
        ctx.save_for_backward(x, y, weight, gamma)
        ctx.of_channels, ctx.words, ctx.mask = (mean, inverse), words, mask.numpy()
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
        if grad.stride(2) != 1:  # one step's channels lie side by side; steps may share them
            grad = grad.contiguous()
        kind = y.numpy().dtype
        rounded = mean.astype(kind)
        flat = torch.as_strided(grad, ((batch - 1) * grad.stride(0) + (steps - 1) * grad.stride(1) + width,), (1,))
        starts = np.add.outer(np.arange(batch) * grad.stride(0), np.arange(steps) * grad.stride(1)).ravel()
        tasks, bounds = ctx.rows.tasks, ctx.rows.bounds
        common = (bounds, flat.numpy(), starts, y.numpy().reshape(-1), rounded, width)
        sums = np.empty((tasks, 2 * width), kind)
        on_threads(mix_kernels.sum_gradients, tasks, y.numel(), *common, sums)
        of_beta, products = sums.reshape(tasks, 2, width).sum(0, dtype=np.float64)
        scale = inverse * gamma.numpy()
        products += (rounded - mean) * of_beta  # about the mean itself
        slope = scale * inverse**2 * products / rows
        constants = (scale, slope, scale * of_beta / rows + (rounded - mean) * slope)
        of_columns = np.empty((tasks, width * width + width), kind)
        arrays = (
            *common, *(array.astype(kind) for array in constants),
            ctx.words.reshape(-1), weight.contiguous().numpy().reshape(-1), ctx.mask, steps,
        )  # fmt: skip

        size = torch.Size([3 if ctx.mask.size else 2, ctx.layer.samples * steps * width])
        spare = [empty(size, dtype).numpy() for _ in range(loops())]

        def of_group(group: int, kernel: Kernel) -> None:
            first, end = ctx.rows.of(group)
            scratch = spare.pop()  # there is one for each thread
            grad_fired, grad_y, grad_mix = scratch[0], scratch[1], scratch[-1]
            mix_kernels.backward(first, end, *arrays, bounds[first], grad_y, grad_mix, grad_fired, of_columns)
            kernel(grad_fired, grad_y, group * ctx.layer.samples)
            spare.append(scratch)

        grad_x, *others = ctx.layer.backward(x, of_rate.item(), of_group)
        found = torch.from_numpy(of_columns.sum(0, dtype=np.float64)).to(dtype)
        of_norm = (torch.from_numpy(array).to(dtype) for array in (products * inverse, of_beta))
        of_mix = found[: width * width].view(width, width).T, found[width * width :]
        return (grad_x, *of_mix, *of_norm, None, None, None, *others)
