"""The fused exact scan: forward and surrogate gradient in one pass each over (B, H, L), in numba, on the CPU.

Rows (sample, neuron) are independent: tiles of rows run in SIMD lanes and on threads (``_kernels``). Spikes and
gradients with respect to x are bit-equal to the eager loop (``bptt``).

Gradients of parameters are summed for each row backwards in time, in the dtype of x within SEGMENT steps and in
float64 over segments, then in float64 over the rows that share the parameter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.errors import BadInput
from train.neurons import methods
from train.neurons._buffers import empty
from train.neurons._kernels import SEGMENT, W, backward_kernel, forward_kernel
from train.neurons._lanes import LINE
from train.neurons.neuron import Neuron, check, check_finite
from train.threads import loops

SHARED = 1 << 16  # numbers that are worth a second thread
PARTS = 4  # of a thread's share of the tasks: one that loses its core leaves the rest to the others
STREAMED = 1 << 25  # bytes of a result that no cache will hold: written past the caches, a line is not read first


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=pool.cache_clear)  # threads don't survive a fork


def on_threads(kernel: Callable[..., Any], tasks: int, size: int, *arguments: Any) -> None:
    """kernel(first task, end, ...) over all, on as many threads as there are for it; few numbers aren't shared out.

    Threads take parts as they get to them, so a task's result may depend on its number alone. Not numba's own threads:
    they start for every call, be it for one tile, and their barrier is slow on a busy machine.
    """
    threads = min(loops(), tasks, 1 + size // SHARED)
    parts = min(tasks, threads * PARTS) if threads > 1 else 1
    bounds = [tasks * i // parts for i in range(parts + 1)]
    left = iter(list(pairwise(bounds)))  # a list's iterator hands each part to one thread

    def work() -> None:
        for part in left:
            kernel(*part, *arguments)

    others = [pool(threads).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        if not other.cancel():  # one that no core has begun yet has nothing left to do
            other.result()


def streams(result: Tensor) -> bool:
    """Whether to write ``result`` (B, H, L) past the caches: it is large, and its rows are whole cache lines."""
    row = result.shape[-1] * result.element_size()
    return result.nbytes >= STREAMED and result.data_ptr() % LINE == 0 and row % LINE == 0


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: Neuron, *parameters: Tensor) -> Tensor:
        batch, width, steps = x.shape
        rows = batch * width
        tiles, segments = -(-rows // W), -(-steps // SEGMENT)
        arrays = [p.expand(width).contiguous().numpy() for p in parameters]
        arrays += arrays[:1] * (4 - len(arrays))  # tau stands in for the tau_r and uth that aren't there
        x = x.contiguous()
        spikes = empty(x.shape, x.dtype)
        kept = [x.new_empty(tiles * segments * W) for _ in range(2 if neuron.reset == "refractory" else 1)]
        last = x.new_empty(tiles * W)
        kept_arrays = [kept[0].numpy(), kept[-1].numpy()]
        kernel = forward_kernel(neuron.kind, streams(spikes))
        flat = [x.numpy().reshape(-1), steps, *arrays, spikes.numpy().reshape(-1), *kept_arrays, last.numpy()]
        on_threads(kernel, tiles, x.numel(), *flat)
        check_finite(last)
        ctx.save_for_backward(x, *parameters, *kept)
        ctx.neuron, ctx.arrays = neuron, arrays
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        neuron: Neuron = ctx.neuron
        x, *rest = ctx.saved_tensors
        names = list(neuron.parameters)
        parameters, kept = rest[: len(names)], rest[len(names) :]
        batch, width, steps = x.shape
        rows = batch * width
        tiles = -(-rows // W)
        grad_x = empty(x.shape, x.dtype)
        sums = np.zeros((4, tiles * W))
        kernel = backward_kernel(neuron.kind, neuron.surrogate, neuron.gradient == "bptt", streams(grad_x))
        on_threads(
            *(kernel, tiles, x.numel(), x.numpy().reshape(-1), steps, *ctx.arrays, kept[0].numpy(), kept[-1].numpy()),
            *(grad.contiguous().numpy().reshape(-1), grad_x.numpy().reshape(-1), sums),
        )
        of_rows = torch.from_numpy(sums[:, :rows].reshape(4, batch, width).sum(1)).to(x.dtype)
        return (grad_x, None, *(of_rows[i].sum_to_size(p.shape) for i, p in enumerate(parameters)))


def run(x: Tensor, neuron: Neuron) -> Tensor:
    """Spikes (B, H, L) of ``neuron`` for the input current x (B, H, L) on the CPU or, ``scan_cuda``, on CUDA; exact."""
    check(x, neuron)
    if x.device.type == "cuda":
        if methods.default_method(x.device) != "scan":
            raise BadInput("method scan", "needs triton to run on CUDA; block runs without")
        from train.neurons import scan_cuda

        return scan_cuda.run(x, neuron)
    if x.device.type != "cpu":
        raise BadInput("method scan", f"runs on CPU and CUDA, the input is on {x.device}; block runs on any device")
    return Scan.apply(x, neuron, *neuron.parameters.values())
