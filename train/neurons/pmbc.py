"""PMBC: the spikes of a soft or refractory neuron by shrinking bounds, one convolution an iteration (SPikE-SSM).

Without a hard reset the membrane potential is linear in input and past spikes, u' = k - g*s with k = tau^j * x and
(* is causal convolution over the steps j)

    soft        g[j] = vth*tau^j                                        for j >= 1
    refractory  g[j] = uth*sum_i tau^i*tau_r^(j-1-i)  (+ vth*tau^j if ``soft``)

so s = F(s) = H(k - g*s - vth). g >= 0 is strictly causal, hence F is antitone: from s = 0 its iterates are in turn
upper and lower bounds, each iteration settles at least the first step on which they disagree, and where two agree
they are the spikes. This is our reading of SPikE-SSM's parallel max-min boundary compression, whose full text was
not at hand.

**Rounding.** Convolutions are float64 FFTs. A row is certified when its iterate repeats and every |u' - vth| is above
a bound on what the FFT and the loop in the dtype of x can differ by: then, by induction over the steps, the loop gives
these spikes. All other rows are computed by the exact scan or block.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput, Refused
from train.neurons import methods
from train.neurons.neuron import Neuron, check

CHUNK = 1 << 21  # elements that are transformed together


class UndecidedWarning(UserWarning):
    """A fixed number of iterations left spikes out; the message says how many."""


@dataclass
class Report:
    """What the iterations came to, added up over the runs that were given this report.

    steps: neuron-steps computed; iterations: the most that a row took; undecided: steps on which the bounds still
    differed at the end; near: steps within the rounding bound of the threshold in rows whose bounds met; exact_rows:
    rows computed by the exact method; missed: spikes unlike the exact neuron's (0 unless iterations are fixed).
    """

    steps: int = 0
    rows: int = 0
    iterations: int = 0
    undecided: int = 0
    near: int = 0
    exact_rows: int = 0
    missed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.iterations} iterations, {self.undecided / max(self.steps, 1):.2%} of steps undecided, "
            f"{self.exact_rows} of {self.rows} rows exactly finished, {self.missed} spikes missed"
        )


def run(x: Tensor, neuron: Neuron, iterations: int | None = None, report: Report | None = None) -> Tensor:
    """Spikes (B, H, L), 0 or 1, of a soft or refractory ``neuron`` for the input current x (B, H, L).

    ``iterations`` None: as many as it takes; the spikes are the eager loop's. A number, as the paper has it: that many,
    after which undecided steps stay silent; the missed spikes are counted into ``report``, or warned of without one.
    The gradient is the exact neuron's, BPTT or SLTT as ``neuron.gradient`` says. Raises Refused for a hard reset,
    BadInput where uth is negative or a decay outside 0..1.
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
    """Forward by bounds, backward by the exact method."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, neuron: Neuron, iterations: int | None, report: Report, *parameters: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, *parameters)
        ctx.neuron = neuron
        width, length = x.shape[1:]
        flat = x.reshape(-1, length)
        spikes = torch.empty_like(flat)
        heads = torch.arange(len(flat), device=x.device) % width
        values: dict[str, Any] = {n: p.detach().expand(width)[heads] for n, p in neuron.parameters.items()}
        by_row = replace(neuron, **values)
        rows = max(1, CHUNK // length)
        for i in range(0, len(flat), rows):
            part = slice(i, i + rows)
            spikes[part] = compress(flat[part], rows_of(by_row, part), iterations, report)
        return spikes.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = (value.detach().requires_grad_() for value in ctx.saved_tensors)
        neuron = replace(ctx.neuron, **dict(zip(ctx.neuron.parameters, parameters, strict=True)))
        with torch.enable_grad():
            spikes = methods.spikes(x, neuron, exact_method(x))
        grad_x, *rest = torch.autograd.grad(spikes, [x, *parameters], gradients[0], allow_unused=True)
        return grad_x, None, None, None, *rest


def compress(x: Tensor, neuron: Neuron, iterations: int | None, report: Report) -> Tensor:
    """Spikes (N, L) for x (N, L); the parameters of ``neuron`` are (N,). Adds to ``report``."""
    rows, length = x.shape
    spikes = torch.zeros_like(x)
    dynamics = Linear(x, neuron)
    threshold = neuron.vth.double()[:, None]
    active = torch.arange(rows, device=x.device)
    old = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    exact = torch.zeros(rows, dtype=torch.bool, device=x.device)  # rows left to the exact method
    open_steps = torch.full((rows,), length + 1, device=x.device)
    count = 0
    while len(active) and count != iterations:
        count += 1
        potential = dynamics.potential(active, old)
        new = potential >= threshold[active]
        differing = (new ^ old).sum(1)
        met = differing == 0
        near = ((potential - threshold[active]).abs() <= dynamics.bound(active, potential)[:, None]).sum(1)
        report.near += int(near[met].sum())
        # in real arithmetic every iteration settles a step: where none is, rounding has the say
        stuck = ~met & (differing >= open_steps)
        spikes[active] = (new & old).to(x.dtype)  # the lower bound of the two
        report.undecided += int(differing[stuck].sum())
        exact[active] = (met & (near > 0)) | stuck
        going = ~met & ~stuck
        active, old, open_steps = active[going], new[going], differing[going]
    report.undecided += int(open_steps.sum()) if len(active) else 0
    report.iterations = max(report.iterations, count)
    report.rows += rows
    report.steps += x.numel()
    left = exact.clone()
    left[active] = True
    chosen = left.nonzero()[:, 0]
    if len(chosen):
        truth = methods.spikes(x[None, chosen], rows_of(neuron, chosen), exact_method(x))[0]
        if iterations is None:
            spikes[chosen] = truth
            report.exact_rows += len(chosen)
        else:
            report.missed += int((truth != spikes[chosen]).sum())
    return spikes


class Linear:
    """The linear dynamics of N rows in float64: k once, then u' for any spikes."""

    def __init__(self, x: Tensor, neuron: Neuron) -> None:
        self.length = length = x.shape[1]
        self.size = 1 << (2 * length - 1).bit_length()
        self.x = x
        self.neuron = neuron
        steps = torch.arange(length, device=x.device, dtype=torch.float64)
        tau, vth = neuron.tau.double()[:, None], neuron.vth.double()[:, None]
        self.decay = torch.fft.rfft(tau**steps, self.size)
        self.k = torch.fft.irfft(self.decay * torch.fft.rfft(x.double(), self.size), self.size)[:, :length]
        inhibition = torch.zeros_like(self.k)
        if neuron.reset == "soft" or neuron.soft:
            inhibition[:, 1:] += vth * tau ** steps[1:]
        if neuron.reset == "refractory":
            tau_r, uth = _refractory(neuron)
            both = torch.fft.irfft(self.decay * torch.fft.rfft(tau_r[:, None] ** steps, self.size), self.size)
            inhibition[:, 1:] += uth[:, None] * both[:, : length - 1].clamp(min=0)
        self.g = torch.fft.rfft(inhibition, self.size)
        self.inhibition = inhibition.norm(dim=1)

    def potential(self, rows: Tensor, spikes: Tensor) -> Tensor:
        """u' (len(rows), L) of these rows for given spikes."""
        transformed = torch.fft.rfft(spikes.double(), self.size)
        return self.k[rows] - torch.fft.irfft(self.g[rows] * transformed, self.size)[:, : self.length]

    def bound(self, rows: Tensor, potential: Tensor) -> Tensor:
        """How far u' of the loop in the dtype of x may be from ``potential``, for the same spikes; (len(rows),).

        Loop: each step rounds tau*u, + x, uth*R, - and the reset, each by at most half an ulp of the largest value
        of the row, and the errors decay with tau (those of R with tau_r). FFT: log2(size) roundings in the norms.
        """
        neuron = rows_of(self.neuron, rows)
        x = self.x[rows].double()
        tau, vth = neuron.tau.double(), neuron.vth.double()
        half = torch.finfo(self.x.dtype).eps / 2
        bits = 8 * torch.finfo(torch.float64).eps * self.size.bit_length()
        lasting, norm = self.memory(tau)
        top = potential.abs().amax(1) + vth + x.abs().amax(1)
        local = 4 * top
        transform = norm * x.norm(dim=1) + self.inhibition[rows] * self.length**0.5
        if neuron.reset == "refractory":
            tau_r, uth = _refractory(neuron)
            lasting_r, norm_r = self.memory(tau_r)
            largest = torch.minimum(uth * lasting_r, 2 * top)  # of uth*R = tau*u + x - u'
            local = local + largest * (3 + 2 * lasting_r)
            transform = transform + uth * norm * norm_r * self.length  # the kernel's own transform
        return 1.01 * half * local * lasting + bits * transform

    def memory(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and 2-norm of tau^0 .. tau^(L-1), from above."""
        shortest = 1 / self.length
        return 1 / (1 - tau).clamp(min=shortest), (1 / (1 - tau**2).clamp(min=shortest)).sqrt()


def rows_of(neuron: Neuron, rows: slice | Tensor) -> Neuron:
    """The neurons of some rows, where the parameters are (N,)."""
    values: dict[str, Any] = {name: value[rows] for name, value in neuron.parameters.items()}
    return replace(neuron, **values)


def exact_method(x: Tensor) -> str:
    return methods.default_method(x.device)


def _refractory(neuron: Neuron) -> tuple[Tensor, Tensor]:
    if neuron.tau_r is None or neuron.uth is None:
        raise BadInput("neuron", "a refractory neuron needs tau_r and uth")
    return neuron.tau_r.double(), neuron.uth.double()
