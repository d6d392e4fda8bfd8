"""The sampler of ``train.neurons.bernoulli`` on the CPU: clamp, draw and compare in one pass; its gradient in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.compiled import compiled
from spikestrip.compiled_draws import fire
from spikestrip.draws import words_of
from train.neurons._buffers import empty
from train.neurons.bernoulli import not_finite
from train.neurons.checks import require
from train.neurons.scan import on_threads

SEGMENT = 64  # steps summed in the dtype of z


@compiled
def gradient(first, end, z, grad, a, b, grad_z, of_a, of_b):  # type: ignore[no-untyped-def]
    """Rows first .. end - 1 of the gradient of E[s] = clamp(a*z + b, 0, 1).

    z, grad, grad_z: (B * H, T); a, b: (H,); of_a, of_b: (B * H,) float64, a row's share of the gradients of a and b,
    summed in float64 over segments.
    """
    steps, width = z.shape[1], len(a)
    zero = a[0] * 0
    one = zero + 1
    for row in range(first, end):
        a_n, b_n, x, inner = a[row % width], b[row % width], z[row], grad_z[row]
        for t in range(steps):
            drive = a_n * x[t] + b_n
            inner[t] = grad[row, t] if (drive >= zero) & (drive <= one) else zero
        of_a[row] = of_b[row] = 0
        for start in range(0, steps, SEGMENT):
            sum_a = sum_b = zero
            for t in range(start, min(start + SEGMENT, steps)):
                sum_a += inner[t] * x[t]
                sum_b += inner[t]
            of_a[row] += sum_a
            of_b[row] += sum_b
        for t in range(steps):
            inner[t] *= a_n


class Sampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, a: Tensor, b: Tensor, seed: int, layer: int, first_sample: int) -> Tensor:
        z = z.contiguous()
        spikes = empty(z.shape, z.dtype)
        finite = torch.empty(z.shape[0] * z.shape[1], dtype=torch.bool)
        counters = [np.uint64(number) for number in (*words_of(seed), layer, first_sample, 0)]
        parameters = a.detach().contiguous().numpy(), b.detach().contiguous().numpy()
        on_threads(fire, len(finite), z.numel(), _rows(z), *parameters, *counters, _rows(spikes), finite.numpy())
        require(finite, not_finite)
        ctx.save_for_backward(z, a, b)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, a, b = ctx.saved_tensors
        grad_z = empty(z.shape, z.dtype)
        sums = np.empty((2, z.shape[0] * z.shape[1]))
        rows = [_rows(each) for each in (z, grad.contiguous())]
        parameters = a.contiguous().numpy(), b.contiguous().numpy()
        on_threads(gradient, sums.shape[1], z.numel(), *rows, *parameters, _rows(grad_z), *sums)
        of_a, of_b = torch.from_numpy(sums).view(2, *z.shape[:2]).sum(1).to(z.dtype)
        return grad_z, of_a, of_b, None, None, None


def _rows(x: Tensor) -> np.ndarray:
    """(B, H, L) -> (B * H, L)."""
    rows: np.ndarray = x.detach().numpy().reshape(-1, x.shape[-1])
    return rows


def run(z: Tensor, a: Tensor, b: Tensor, seed: int, layer: int, first_sample: int) -> Tensor:
    """Spikes (B, H, L) for z (B, H, L), float32 or float64 on the CPU, and a, b (H,), as SpikeSampler has them."""
    spikes: Tensor = Sampled.apply(z, a.to(z.dtype), b.to(z.dtype), seed, layer, first_sample)
    return spikes
