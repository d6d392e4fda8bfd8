"""The neuron step by step, in torch: the truth for every parallel form, in spikes and in gradients.

Canonical rounding, which the other exact forms keep: tau*u is rounded, x is added and rounded, uth*R is rounded and
subtracted; the comparison is ``>=``; no fused multiply-add.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.neurons.neuron import Neuron, check, check_finite
from train.neurons.surrogate import SURROGATES


class Spike(torch.autograd.Function):
    """s = (u' >= vth) forward; ds/du' = surrogate(d)/vth and ds/dvth = -surrogate(d)*u'/vth**2 backward.

    d = (u' - vth)/vth is the normalised distance; 1/vth is rounded once and multiplied.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, vth: Tensor, surrogate: str) -> Tensor:
        ctx.save_for_backward(v, vth)
        ctx.surrogate = SURROGATES[surrogate]
        return (v >= vth).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (grad,) = gradients
        v, vth = ctx.saved_tensors
        inverse = 1.0 / vth
        grad_v = grad * (ctx.surrogate((v - vth) * inverse) * inverse)
        grad_vth = (-(grad_v * (v * inverse))).sum_to_size(vth.shape) if ctx.needs_input_grad[1] else None
        return grad_v, grad_vth, None


def run(x: Tensor, neuron: Neuron) -> Tensor:
    """Spikes (B, H, L) of ``neuron`` for the input current x (B, H, L), one step at a time from a state of zeros.

    Raises BadInput for shapes and dtypes that don't fit, and where x isn't finite.
    """
    check(x, neuron)
    p = neuron.parameters
    tau, vth = p["tau"], p["vth"]
    u = r = s = x.new_zeros(x.shape[:-1])
    out = []
    for x_t in x.unbind(-1):
        v = tau * u + x_t
        if neuron.reset == "refractory":
            r = p["tau_r"] * r + s
            v = v - p["uth"] * r
        s = Spike.apply(v, vth, neuron.surrogate)
        out.append(s)
        if neuron.reset == "hard":
            u = v * (1 - s)
        elif neuron.soft:
            u = v - vth * s
        else:
            u = v
        if neuron.gradient == "sltt":
            u, r, s = u.detach(), r.detach(), s.detach()
    check_finite(u)
    return torch.stack(out, dim=-1)
