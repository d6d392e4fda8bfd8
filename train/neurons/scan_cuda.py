"""The fused exact scan on CUDA, in Triton: one thread a row (sample, neuron), one pass forward and one backward.

The operations are those of the CPU's kernels (``_kernels``), in their order; nothing is contracted to a fused
multiply-add, and every division rounds to nearest. So spikes, and gradients with respect to x, are theirs bit for bit.
Where a gradient is wanted, forward keeps u' (and R) of every step. Neighbouring threads read rows that lie ``steps``
apart: a line of memory waits in the L1 cache for the 31 steps after the first.
"""

# ruff: noqa: SIM108 - Triton reads an if of constants more widely than a conditional expression
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.neurons.neuron import Neuron, check_finite

ROWS = 32  # of a program: one warp
SEGMENT = 256  # steps whose gradients are summed in the dtype of x, as on the CPU


@triton.jit
def _quotient(a, b):
    if b.dtype == tl.float64:  # / is exact to the bit in float64 alone
        result = (b * 0.0 + a) / b
    else:
        result = tl.div_rn(b * 0.0 + a, b)
    return result


@triton.jit
def _surrogate(d, NAME: tl.constexpr):
    """train.neurons.surrogate, in Triton."""
    if NAME == "triangle":
        y = 1.0 - tl.abs(d)
        value = 0.5 * (y + tl.abs(y))
    elif NAME == "rectangle":
        value = (tl.abs(d) < 0.5).to(d.dtype)
    elif NAME == "fast_sigmoid":
        y = 1.0 + tl.abs(d)
        value = _quotient(1.0, y * y)
    elif NAME == "atan":
        y = 3.141592653589793 * d
        value = _quotient(1.0, 1.0 + y * y)
    else:
        tl.static_assert(NAME == "sigmoid")
        a = 0.125 * d
        q = a * a
        c = 0.5 * q * (1.0 + q * (1.0 / 12.0) * (1.0 + q * (1.0 / 30.0) * (1.0 + q * (1.0 / 56.0))))
        for _ in tl.static_range(5):
            c = 2.0 * c * (c + 2.0)
        value = _quotient(2.0, 2.0 + c)
    return value


@triton.jit
def _reset(v, s, vth, HARD: tl.constexpr, SOFT: tl.constexpr):
    if HARD:
        u = tl.where(s, v * 0.0, v)
    elif SOFT:
        u = tl.where(s, v - vth, v)
    else:
        u = v
    return u


@triton.jit
def _forward(x, tau_h, vth_h, tau_r_h, uth_h, spikes, kept_v, kept_r, last, rows, width,
             STEPS: tl.constexpr, HARD: tl.constexpr, SOFT: tl.constexpr, REFRACTORY: tl.constexpr, KEEP: tl.constexpr,
             ROWS: tl.constexpr):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = row < rows
    tau, vth = tl.load(tau_h + row % width), tl.load(vth_h + row % width)
    tau_r, uth = tl.load(tau_r_h + row % width), tl.load(uth_h + row % width)
    start = row.to(tl.int64) * STEPS
    u = tau * 0.0
    r = tau * 0.0
    ahead = tl.load(x + start, mask=mask, other=0.0)
    for t in range(STEPS):
        v = tau * u + ahead
        ahead = tl.load(x + start + t + 1, mask=mask & (t + 1 < STEPS), other=0.0)
        if REFRACTORY:
            v = v - uth * r
        s = v >= vth
        tl.store(spikes + start + t, s.to(u.dtype), mask=mask)
        if KEEP:
            tl.store(kept_v + start + t, v, mask=mask)
            if REFRACTORY:
                tl.store(kept_r + start + t, r, mask=mask)
        u = _reset(v, s, vth, HARD, SOFT)
        if REFRACTORY:
            r = tau_r * r + s.to(u.dtype)
    tl.store(last + row, u, mask=mask)


@triton.jit
def _backward(kept_v, kept_r, grad, tau_h, vth_h, tau_r_h, uth_h, inverse_h, grad_x, sums, rows, width,
              STEPS: tl.constexpr, HARD: tl.constexpr, SOFT: tl.constexpr, REFRACTORY: tl.constexpr,
              SURROGATE: tl.constexpr, THROUGH_TIME: tl.constexpr, SEGMENT: tl.constexpr,
              ROWS: tl.constexpr):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = row < rows
    tau, vth = tl.load(tau_h + row % width), tl.load(vth_h + row % width)
    tau_r, uth = tl.load(tau_r_h + row % width), tl.load(uth_h + row % width)
    inverse = tl.load(inverse_h + row % width)
    start = row.to(tl.int64) * STEPS
    zero = tau * 0.0
    grad_u, grad_r, grad_v = zero, zero, zero  # of u[t], R[t+1] and u'[t+1] while at step t
    total_tau, total_vth = zero.to(tl.float64), zero.to(tl.float64)
    total_tau_r, total_uth = zero.to(tl.float64), zero.to(tl.float64)
    sum_tau, sum_vth, sum_tau_r, sum_uth = zero, zero, zero, zero
    for back in range(STEPS):
        t = STEPS - 1 - back
        v = tl.load(kept_v + start + t, mask=mask, other=0.0)
        grad_s = tl.load(grad + start + t, mask=mask, other=0.0)
        spiked = v >= vth
        s = spiked.to(v.dtype)
        sum_tau = sum_tau + grad_v * _reset(v, spiked, vth, HARD, SOFT)
        if THROUGH_TIME:
            if REFRACTORY:
                grad_s = grad_s + grad_r
            if HARD:
                grad_s = grad_s - grad_u * v
            elif SOFT:
                grad_s = grad_s - grad_u * vth
                sum_vth = sum_vth - grad_u * s
        by_spike = grad_s * (_surrogate((v - vth) * inverse, SURROGATE) * inverse)
        sum_vth = sum_vth - by_spike * (v * inverse)
        if THROUGH_TIME:
            if HARD:
                grad_v = grad_u * (1.0 - s) + by_spike
            else:
                grad_v = grad_u + by_spike
        else:
            grad_v = by_spike
        if REFRACTORY:
            r = tl.load(kept_r + start + t, mask=mask, other=0.0)
            sum_tau_r = sum_tau_r + grad_r * r
            sum_uth = sum_uth - grad_v * r
            if THROUGH_TIME:
                grad_r = tau_r * grad_r - grad_v * uth
            else:
                grad_r = zero - grad_v * uth
        grad_u = tau * grad_v
        tl.store(grad_x + start + t, grad_v, mask=mask)
        if t % SEGMENT == 0:
            total_tau += sum_tau.to(tl.float64)
            total_vth += sum_vth.to(tl.float64)
            total_tau_r += sum_tau_r.to(tl.float64)
            total_uth += sum_uth.to(tl.float64)
            sum_tau, sum_vth, sum_tau_r, sum_uth = zero, zero, zero, zero
    tl.store(sums + row, total_tau, mask=mask)
    tl.store(sums + rows + row, total_vth, mask=mask)
    tl.store(sums + 2 * rows + row, total_tau_r, mask=mask)
    tl.store(sums + 3 * rows + row, total_uth, mask=mask)


def _kind(neuron: Neuron) -> dict[str, Any]:
    return {
        "HARD": neuron.kind == "hard", "SOFT": neuron.kind in ("soft", "refractory"),
        "REFRACTORY": neuron.reset == "refractory", "ROWS": ROWS, "num_warps": 1, "enable_fp_fusion": False,
    }  # fmt: skip


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: Neuron, *parameters: Tensor) -> Tensor:
        batch, width, steps = x.shape
        rows = batch * width
        x = x.contiguous()
        arrays = [p.expand(width).contiguous() for p in parameters]
        arrays += arrays[:1] * (4 - len(arrays))  # tau stands in for the tau_r and uth that aren't there
        keep = any(ctx.needs_input_grad)
        spikes, last = torch.empty_like(x), x.new_empty(rows)
        v = torch.empty_like(x) if keep else x
        r = torch.empty_like(x) if keep and neuron.reset == "refractory" else x
        grid = (triton.cdiv(rows, ROWS),)
        _forward[grid](x, *arrays, spikes, v, r, last, rows, width, steps, KEEP=keep, **_kind(neuron))
        check_finite(last)
        ctx.save_for_backward(v, r, *arrays)
        ctx.neuron, ctx.shapes = neuron, [p.shape for p in parameters]
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        neuron: Neuron = ctx.neuron
        v, r, *arrays = ctx.saved_tensors
        batch, width, steps = v.shape
        rows = batch * width
        grad_x = torch.empty_like(v)
        sums = v.new_empty(4, rows, dtype=torch.float64)
        grid = (triton.cdiv(rows, ROWS),)
        _backward[grid](
            *(v, r, grad.contiguous(), *arrays, 1.0 / arrays[1], grad_x, sums, rows, width, steps),
            SURROGATE=neuron.surrogate, THROUGH_TIME=neuron.gradient == "bptt", SEGMENT=SEGMENT, **_kind(neuron),
        )  # fmt: skip
        of_rows = sums.view(4, batch, width).sum(1).to(v.dtype)
        return grad_x, None, *(of_rows[i].sum_to_size(shape) for i, shape in enumerate(ctx.shapes))


def run(x: Tensor, neuron: Neuron) -> Tensor:
    """Spikes (B, H, L) of ``neuron``, both checked, for the input current x (B, H, L) on a CUDA device; exact."""
    spikes: Tensor = Scan.apply(x, neuron, *neuron.parameters.values())
    return spikes
