"""S4D and its neuron as one differentiable function, in time order, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.errors import BadInput
from train.fused.kernels import T, backward_kernel, forward_kernel, group_size, segment_length
from train.neurons._buffers import empty
from train.neurons._kernels import W
from train.neurons.neuron import Neuron, check, check_finite
from train.neurons.scan import on_threads
from train.ssm import S4D
from train.ssm.block_convolution import tables, toeplitz

Kernel = Callable[[np.ndarray, np.ndarray, int], None]


def tiles_of(width: int) -> int:
    """How many tiles of W channels there are, the last one perhaps with lanes left over."""
    return -(-width // W)


def _in_lanes(table: Tensor) -> np.ndarray:
    """(H, rows, columns) -> (tiles, rows * columns * W), zeros after the last channel."""
    padded = F.pad(table, (0, 0, 0, 0, 0, -len(table) % W))
    lanes: np.ndarray = padded.unflatten(0, (-1, W)).movedim(1, -1).contiguous().flatten(1).numpy()
    return lanes


def _of_channels(sums: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of _in_lanes, summed over tasks: (tasks, rows * columns * W) -> (H, rows, columns)."""
    channels, rows, columns = like.shape
    lanes = torch.from_numpy(sums).view(-1, tiles_of(channels), rows, columns, W).sum(0)
    return lanes.movedim(-1, 1).flatten(0, 1)[:channels].to(like.dtype)


class Layer:
    """S4D and the neuron that it feeds, over x (B, L, H): what both passes need beside x, and what forward keeps."""

    def __init__(self, x: Tensor, neuron: Neuron, tables: tuple[Tensor, ...], parameters: tuple[Tensor, ...]) -> None:
        batch, steps, width = x.shape
        self.neuron, self.tables, self.parameters = neuron, tables, parameters
        self.tiles, segment = tiles_of(width), segment_length(steps)
        arrays = [p.expand(width).contiguous().numpy() for p in parameters]
        arrays += arrays[:1] * (4 - len(arrays))  # tau stands in for the tau_r and uth that aren't there
        self.lanes = [_in_lanes(table) for table in tables]
        self.samples = group_size(batch)
        self.groups = -(-batch // self.samples)
        self.arguments = (steps, width, segment, self.samples, *self.lanes, *arrays)
        self.kept = x.new_empty(batch * self.tiles * -(-steps // segment), (2 + tables[1].shape[2]) * W).numpy()

    def forward(
        self, x: Tensor, spikes: np.ndarray, words: np.ndarray, then: Callable[[int], None] | None = None
    ) -> float:
        """The rate. Writes spikes (B * L * H), and as bits words (B * L * tiles) uint32; not the one that is empty.

        ``then`` follows for each group of samples, while they are in the cache.
        """
        last = x.new_empty(len(x) * self.tiles * W)
        fired = np.empty(self.groups * self.tiles)
        arrays = (x.numpy().reshape(-1), *self.arguments, spikes, words, self.kept, last.numpy(), fired)
        kernel = forward_kernel(self.neuron.kind)

        def of_groups(first: int, end: int) -> None:
            for group in range(first, end):
                kernel(group * self.tiles, (group + 1) * self.tiles, *arrays)
                if then is not None:
                    then(group)

        on_threads(of_groups, self.groups, x.numel())
        check_finite(last)
        return float(fired.sum()) / x.numel()

    def backward(self, x: Tensor, of_rate: float, of_group: Callable[[int, Kernel], None]) -> list[Tensor]:
        """Gradients of x, of the tables and of the neuron's parameters, from those of spikes and rate.

        of_group(group, kernel) is called for every group of samples, on any thread, and calls the kernel with the flat
        gradient of its spikes; with that of x by all else that uses it, which joins it in the same pass, empty for
        none; and with the sample that both begin with.
        """
        width, neuron, tasks = x.shape[2], self.neuron, self.groups * self.tiles
        grad_x = empty(x.shape, x.dtype)
        of_tables = [np.zeros((tasks, lanes.shape[1]), lanes.dtype) for lanes in self.lanes]
        sums = np.zeros((4, tasks * W))
        flat_x, flat_grad = x.numpy().reshape(-1), grad_x.numpy().reshape(-1)
        each = flat_x.dtype.type(of_rate / x.numel())
        kernel = backward_kernel(neuron.kind, neuron.surrogate, neuron.gradient == "bptt")

        def run(group: int, grad: np.ndarray, beside: np.ndarray, origin: int) -> None:
            kernel(
                group * self.tiles, (group + 1) * self.tiles, flat_x, *self.arguments, self.kept,
                grad, each, beside, origin, flat_grad, sums, *of_tables,
            )  # fmt: skip

        def of_groups(first: int, end: int) -> None:
            for group in range(first, end):
                of_group(group, partial(run, group))

        on_threads(of_groups, self.groups, x.numel())
        of_rows = torch.from_numpy(sums.reshape(4, -1, self.tiles * W).sum(1)[:, :width]).to(x.dtype)
        gradients = [_of_channels(found, like) for found, like in zip(of_tables, self.tables, strict=True)]
        return [grad_x, *gradients, *(of_rows[i].sum_to_size(p.shape) for i, p in enumerate(self.parameters))]


class Fused(torch.autograd.Function):
    """(B, L, H) -> spikes (B, L, H), their mean, and the input itself.

    What uses the mean or the input gives its gradient to the same pass, in the place of one more sum of that size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, neuron: Neuron, leave: Tensor, enter: Tensor, carry: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.layer = Layer(x, neuron, (leave, enter, carry), parameters)
        spikes = empty(x.shape, x.dtype)
        rate = ctx.layer.forward(x, spikes.numpy().reshape(-1), np.empty(0, np.uint32))
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return spikes, x.new_tensor(rate), x

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor | None, of_rate: Tensor | None, beside: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if grad is None and of_rate is None:
            return (beside, *[None] * (4 + len(ctx.layer.parameters)))
        grad = torch.zeros_like(x) if grad is None else grad
        rate = 0.0 if of_rate is None else of_rate.item()
        joining = x.new_empty(0) if beside is None else beside
        flat = [array.contiguous().numpy().reshape(-1) for array in (grad, joining)]
        grad_x, *others = ctx.layer.backward(x, rate, lambda _, kernel: kernel(flat[0], flat[1], 0))
        return (grad_x, None, *others)


def prepared(x: Tensor, ssm: S4D, neuron: Neuron) -> tuple[Any, ...]:
    """What ``Fused`` takes for x (B, H, L), and ``train.fused.block.Block`` among other things.

    Raises BadInput for what S4D or the neuron refuses.
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
    return (x.transpose(1, 2).contiguous(), neuron, *lanes, *neuron.parameters.values())


def spikes(x: Tensor, ssm: S4D, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Spikes (B, H, L) of ``neuron`` fed by ``ssm`` for x (B, H, L), float32 or float64 on the CPU; and x.

    What else uses x should use the one returned: the gradients are then added in the same pass. Both are (B, L, H) in
    memory, which x should be too. Raises BadInput for what S4D or the neuron refuses.
    """
    fired, rate, same = Fused.apply(*prepared(x, ssm, neuron))
    train = fired.transpose(1, 2)
    train.rate = rate  # for train.score.spiking_rates
    return train, same.transpose(1, 2)
