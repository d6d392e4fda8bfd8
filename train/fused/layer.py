"""S4D and its neuron as one differentiable function, in time order, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.errors import BadInput
from train.fused.kernels import SAMPLES, T, backward_kernel, forward_kernel, segment_length
from train.neurons._buffers import empty
from train.neurons._kernels import W
from train.neurons.neuron import Neuron, check, check_finite
from train.neurons.scan import on_threads
from train.ssm import S4D
from train.ssm.block_convolution import tables, toeplitz


def _in_lanes(table: Tensor) -> np.ndarray:
    """(H, rows, columns) -> (tiles, rows * columns * W), zeros after the last channel."""
    padded = F.pad(table, (0, 0, 0, 0, 0, -len(table) % W))
    lanes: np.ndarray = padded.unflatten(0, (-1, W)).movedim(1, -1).contiguous().flatten(1).numpy()
    return lanes


def _of_channels(sums: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of _in_lanes, summed over tasks: (tasks, rows * columns * W) -> (H, rows, columns)."""
    channels, rows, columns = like.shape
    tiles = -(-channels // W)
    lanes = torch.from_numpy(sums).view(-1, tiles, rows, columns, W).sum(0)
    return lanes.movedim(-1, 1).flatten(0, 1)[:channels].to(like.dtype)


class Fused(torch.autograd.Function):
    """(B, L, H) -> spikes (B, L, H), their mean, and the input itself.

    What uses the mean or the input gives its gradient to the same pass, in the place of one more sum of that size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, neuron: Neuron, leave: Tensor, enter: Tensor, carry: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, steps, width = x.shape
        tiles, segment = -(-width // W), segment_length(steps)
        arrays = [p.expand(width).contiguous().numpy() for p in parameters]
        arrays += arrays[:1] * (4 - len(arrays))  # tau stands in for the tau_r and uth that aren't there
        shape = (steps, width, segment, _in_lanes(leave), _in_lanes(enter), _in_lanes(carry), *arrays)
        spikes = empty(x.shape, x.dtype)
        kept = x.new_empty(batch * tiles * -(-steps // segment), (2 + enter.shape[2]) * W)
        last = x.new_empty(batch * tiles * W)
        tasks = tiles * -(-batch // SAMPLES)
        fired = np.empty(tasks)
        outputs = (spikes.numpy().reshape(-1), kept.numpy(), last.numpy(), fired)
        on_threads(forward_kernel(neuron.kind), tasks, x.numel(), x.numpy().reshape(-1), *shape, *outputs)
        check_finite(last)
        ctx.save_for_backward(x, leave, enter, carry, kept, *parameters)
        ctx.neuron, ctx.shape, ctx.tasks = neuron, shape, tasks
        ctx.set_materialize_grads(False)
        return spikes, x.new_tensor(fired.sum() / x.numel()), x

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor | None, of_rate: Tensor | None, beside: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        neuron: Neuron = ctx.neuron
        x, leave, enter, carry, kept, *parameters = ctx.saved_tensors
        if grad is None and of_rate is None:
            return (beside, *[None] * (4 + len(parameters)))
        grad = torch.zeros_like(x) if grad is None else grad
        each = x.numpy().dtype.type(0 if of_rate is None else of_rate.item() / x.numel())
        beside = x.new_empty(0) if beside is None else beside
        width = x.shape[2]
        grad_x = empty(x.shape, x.dtype)
        of_tables = [np.zeros((ctx.tasks, array.shape[1]), array.dtype) for array in ctx.shape[3:6]]
        sums = np.zeros((4, ctx.tasks * W))
        flat = [array.contiguous().numpy().reshape(-1) for array in (grad, beside, grad_x)]
        kernel = backward_kernel(neuron.kind, neuron.surrogate, neuron.gradient == "bptt")
        arguments = (*ctx.shape, kept.numpy(), flat[0], each, *flat[1:], sums, *of_tables)
        on_threads(kernel, ctx.tasks, x.numel(), x.numpy().reshape(-1), *arguments)
        tiles = -(-width // W)
        of_rows = torch.from_numpy(sums.reshape(4, -1, tiles * W).sum(1)[:, :width]).to(x.dtype)
        gradients = [_of_channels(found, like) for found, like in zip(of_tables, (leave, enter, carry), strict=True)]
        return grad_x, None, *gradients, *(of_rows[i].sum_to_size(p.shape) for i, p in enumerate(parameters))


def spikes(x: Tensor, ssm: S4D, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Spikes (B, H, L) of ``neuron`` fed by ``ssm`` for x (B, H, L), float32 or float64 on the CPU; and x.

    What else uses x should use the one returned: the gradients are then added in the same pass. Both are (B, L, H) in
    memory, which x should be too. Raises BadInput for what S4D or the neuron refuses.
    """
    if x.device.type != "cpu":
        raise BadInput("method fused", f"runs on the CPU, the input is on {x.device}; scan runs on CUDA too")
    check(x, neuron)
    if x.shape[1] != ssm.d_model:
        raise BadInput("S4D", f"input has shape {tuple(x.shape)}, it must be (B, {ssm.d_model}, L)")
    a, b, c = ssm.bars()
    a, w = (F.pad(torch.view_as_real(part), (0, 0, 0, part.shape[1] % 2)) for part in (a, c * b))  # an even N
    a, w = torch.view_as_complex(a), torch.view_as_complex(w)
    response, enter, leave, carry = tables(a, w, ssm.D.double(), T)
    leave = torch.cat((leave, toeplitz(response).mT), -1)
    lanes = [table.to(x.dtype) for table in (leave, enter, torch.view_as_real(carry).flatten(1).unsqueeze(1))]
    fired, rate, same = Fused.apply(x.transpose(1, 2).contiguous(), neuron, *lanes, *neuron.parameters.values())
    train = fired.transpose(1, 2)
    train.rate = rate  # for train.score.spiking_rates
    return train, same.transpose(1, 2)
