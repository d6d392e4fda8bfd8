"""PMBC: the spikes of a soft or refractory neuron by shrinking bounds, one linear recurrence an iteration (SPikE-SSM).

Without a hard reset the membrane potential is linear in input and past spikes, u' = k - g*s with k = tau^j * x and
(* is causal convolution over the steps j)

    soft        g[j] = vth*tau^j                                        for j >= 1
    refractory  g[j] = uth*sum_i tau^i*tau_r^(j-1-i)  (+ vth*tau^j if ``soft``)

so s = F(s) = H(k - g*s - vth). g >= 0 is strictly causal, hence F is antitone: from s = 0 its iterates are in turn
upper and lower bounds, each iteration settles at least the first step on which they disagree, and where two agree
they are the spikes. This is our reading of SPikE-SSM's parallel max-min boundary compression, whose full text was
not at hand.

**Rounding.** F is the eager loop's own arithmetic with given spikes in the place of its own. Each of its roundings is
monotone, so that F stays antitone and the bounds hold to the bit; and where an iterate repeats, the loop, which does
the same operations, gives these spikes.

**How long.** Bounds can close as slowly as one step an iteration, which costs as much as the neuron itself. Without a
fixed number they go on while an iteration leaves at most half of the undecided steps of 32 rows undecided; then what
is open is computed exactly, from the first undecided step on. The report says how much that was.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikestrip.errors import BadInput, Refused
from train.neurons import methods
from train.neurons._lanes import W
from train.neurons._pmbc_kernel import pmbc_kernel
from train.neurons.neuron import Neuron, check
from train.neurons.scan import on_threads


class UndecidedWarning(UserWarning):
    """A fixed number of iterations left spikes out; the message says how many."""


@dataclass
class Report:
    """What the iterations came to, added up over the runs that were given this report.

    steps: neuron-steps computed; iterations: the most that a row took; undecided: steps on which the bounds still
    differed at the end; exact_rows: rows that have such steps and were finished by the neuron itself; missed: spikes
    unlike the exact neuron's (0 unless iterations are fixed).
    """

    steps: int = 0
    rows: int = 0
    iterations: int = 0
    undecided: int = 0
    exact_rows: int = 0
    missed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.iterations} iterations, {self.undecided / max(self.steps, 1):.2%} of steps undecided, "
            f"{self.exact_rows} of {self.rows} rows exactly finished, {self.missed} spikes missed"
        )


def run(x: Tensor, neuron: Neuron, iterations: int | None = None, report: Report | None = None) -> Tensor:
    """Spikes (B, H, L), 0 or 1, of a soft or refractory ``neuron`` for the input current x (B, H, L).

    ``iterations`` None: as many as pay, then the neuron itself; the spikes are the eager loop's. A number, as the paper
    has it: that many, after which undecided steps stay silent; the missed spikes are counted into ``report``, or warned
    of without one. The gradient is the exact neuron's, BPTT or SLTT as ``neuron.gradient`` says. Raises Refused for a
    hard reset, BadInput where uth is negative or a decay outside 0..1.
    """
    check(x, neuron)
    if neuron.reset not in ("soft", "refractory"):
        raise Refused(
            "pmbc", "hard reset: the potential is not linear in the spikes, bounds don't hold; use scan or block"
        )
    for name, value in neuron.parameters.items():
        if not bool((value >= 0).all()) or (name.startswith("tau") and not bool((value <= 1).all())):
            raise BadInput(
                f"neuron {name}", f"PMBC needs it {'in 0..1' if name.startswith('tau') else 'to be 0 or more'}"
            )
    if iterations is not None and iterations < 1:
        raise BadInput("pmbc iterations", f"{iterations}, expected 1 or more")
    if not bool(x.isfinite().all()):
        raise BadInput("neuron input", "holds NaN or infinity")
    own = report or Report()
    missed = own.missed
    spikes = Spikes.apply(x, neuron, iterations, own, *neuron.parameters.values())
    if report is None and own.missed > missed:
        warnings.warn(f"PMBC: {own}", UndecidedWarning, stacklevel=2)
    return spikes


class Spikes(torch.autograd.Function):
    """Forward by bounds, on the CPU wherever x is; backward by the exact method."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, neuron: Neuron, iterations: int | None, report: Report, *parameters: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, *parameters)
        ctx.neuron = neuron
        width = x.shape[1]
        given = x.detach().cpu().contiguous()
        arrays = [p.detach().cpu().expand(width).contiguous().numpy() for p in parameters]
        arrays += arrays[:1] * (4 - len(arrays))  # tau stands in for the tau_r and uth that aren't there
        spikes = torch.empty_like(given)
        rows = x.shape[0] * width
        counts = np.zeros((-(-rows // W), 5), np.int64)
        flat = [given.numpy().reshape(-1), x.shape[2], *arrays, spikes.numpy().reshape(-1)]
        on_threads(pmbc_kernel(neuron.kind), len(counts), x.numel(), *flat, iterations or 0, counts)
        if counts[:, 4].any():
            raise BadInput("neuron input", "the membrane potential overflowed")
        report.steps += x.numel()
        report.rows += rows
        report.iterations = max(report.iterations, int(counts[:, 0].max()))
        report.undecided += int(counts[:, 1].sum())
        report.exact_rows += 0 if iterations else int(counts[:, 2].sum())
        report.missed += int(counts[:, 3].sum())
        return spikes.to(x.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = (value.detach().requires_grad_() for value in ctx.saved_tensors)
        neuron = replace(ctx.neuron, **dict(zip(ctx.neuron.parameters, parameters, strict=True)))
        with torch.enable_grad():
            spikes = methods.spikes(x, neuron, methods.default_method(x.device))
        grad_x, *rest = torch.autograd.grad(spikes, [x, *parameters], gradients[0], allow_unused=True)
        return grad_x, None, None, None, *rest
