"""S4D as a torch module: parameters, and one map in three forms."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from spikestrip.errors import BadInput
from train.neurons.checks import require
from train.ssm.block_convolution import block_convolution
from train.ssm.convolution import causal_convolution
from train.ssm.discretisation import RULES, Discrete, discretise
from train.ssm.initialisation import INITIALISATIONS
from train.ssm.kernel import kernel
from train.ssm.recurrence import recurrence

PARAMETERS = ("log_dt", "log_A_real", "A_imag", "B", "C", "D")


class S4D(nn.Module):
    """Diagonal state-space layer (Gu et al. 2022, arXiv:2206.11893): x (B, H, L) -> y (B, H, L), causal.

    h[t] = Abar h[t-1] + Bbar x[t];   y[t] = 2 Re(sum_n C_n h_n[t]) + D x[t]

    Only one of each conjugate pair of modes is kept, so ``d_state`` counts the real states, as in the S4 code that
    SpikingSSM builds on: N = d_state/2 complex modes, and every mode parameter is (H, N).

    Parameters: ``log_dt`` (H,), ``log_A_real`` (H, N), ``A_imag`` (H, N), ``B`` and ``C`` (H, N, 2) as real pairs,
    ``D`` (H,). ``B`` is a buffer if ``train_b`` is false.

    ``init``: "lin", "inv" or "legs" (S4D-Lin, S4D-Inv, S4D-LegS): Re A = -1/2, B = 1; dt is log-uniform in
    ``dt_range``; C and D are normal with variance 1. ``rule``: "zoh" or "bilinear".
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        *,
        init: str = "lin",
        rule: str = "zoh",
        train_b: bool = True,
        dt_range: tuple[float, float] = (0.001, 0.1),
    ) -> None:
        super().__init__()
        if d_model < 1:
            raise BadInput("S4D", f"d_model is {d_model}, it must be at least 1")
        if d_state < 2 or d_state % 2:
            raise BadInput("S4D", f"d_state is {d_state}, it must be even and at least 2 (modes are conjugate pairs)")
        if init not in INITIALISATIONS:
            raise BadInput("S4D", f"init is {init!r}, it must be one of {', '.join(INITIALISATIONS)}")
        if rule not in RULES:
            raise BadInput("S4D", f"rule is {rule!r}, it must be one of {', '.join(RULES)}")
        low, high = dt_range
        if not 0 < low <= high < math.inf:
            raise BadInput("S4D", f"dt_range is {dt_range}, it must be 0 < low <= high")
        self.d_model, self.d_state, self.rule = d_model, d_state, rule
        modes = d_state // 2
        frequencies = torch.from_numpy(INITIALISATIONS[init](d_state)).float()
        self.log_dt = nn.Parameter(math.log(low) + torch.rand(d_model) * (math.log(high) - math.log(low)))
        self.log_A_real = nn.Parameter(torch.full((d_model, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(frequencies.repeat(d_model, 1))
        b = torch.tensor([1.0, 0.0]).repeat(d_model, modes, 1)
        if train_b:
            self.B = nn.Parameter(b)
        else:
            self.register_buffer("B", b)
        self.C = nn.Parameter(torch.randn(d_model, modes, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))

    def bars(self) -> tuple[Tensor, Tensor, Tensor]:
        """Abar, Bbar and C as complex128 (H, N)."""
        flat = torch.cat([getattr(self, name).detach().flatten() for name in PARAMETERS])
        require(torch.isfinite(flat), self._not_finite)
        a_bar, b_bar = discretise(self.log_dt, self.log_A_real, self.A_imag, self.B, self.rule)
        return a_bar, b_bar, torch.view_as_complex(self.C.double())

    def _not_finite(self) -> BadInput:
        bad = [name for name in PARAMETERS if not bool(torch.isfinite(getattr(self, name)).all())]
        return BadInput("S4D", f"parameter {' and '.join(bad)} holds a NaN or an infinity")

    def discretise(self) -> Discrete:
        """The layer as it runs step by step: float64 numpy arrays, modes first. Raises BadInput on NaN parameters."""
        with torch.no_grad():
            bars = [bar.T.cpu().numpy() for bar in self.bars()]
            d = self.D.double().cpu().numpy().copy()
        return Discrete._make([*(np.ascontiguousarray(part) for bar in bars for part in (bar.real, bar.imag)), d])

    def kernel(self, length: int) -> Tensor:
        """Impulse response without the D term, float64 (H, length): 2 Re(sum_n C_n Bbar_n Abar_n**l)."""
        a_bar, b_bar, c = self.bars()
        return kernel(a_bar, c * b_bar, length)

    def forward(self, x: Tensor, form: Literal["block", "fft", "recurrent"] = "block") -> Tensor:
        """y (B, H, L) in the dtype of x, which is float32 or float64.

        ``form``: "block" convolves block by block with carried states (the fastest on a CPU); "fft" convolves with
        the whole kernel; the tables of both are made in complex128 and cast to the dtype of x. "recurrent" steps
        through time in float64 on the CPU, bit for bit like the iterative layer, and has no gradient.
        Raises BadInput on a wrong shape, dtype, form or parameter.
        """
        if x.ndim != 3 or x.shape[1] != self.d_model or 0 in x.shape:
            raise BadInput("S4D", f"input has shape {tuple(x.shape)}, it must be (B, {self.d_model}, L)")
        if x.dtype not in (torch.float32, torch.float64):
            raise BadInput("S4D", f"input is {x.dtype}, it must be float32 or float64")
        if form == "recurrent":
            if torch.is_grad_enabled():
                raise BadInput("S4D", "the recurrent form has no gradient: use it under torch.no_grad()")
            return recurrence(self.discretise(), x)
        if form not in ("block", "fft"):
            raise BadInput("S4D", f"form is {form!r}, it must be block, fft or recurrent")
        d = self.D.double()
        if form == "block":
            a_bar, b_bar, c = self.bars()
            return block_convolution(x, a_bar, c * b_bar, d)
        response = self.kernel(x.shape[-1])
        # The skip connection is one more tap at lag 0: y = k*x + D x = (k + D delta)*x.
        response = torch.cat((response[:, :1] + d.unsqueeze(-1), response[:, 1:]), -1)
        return causal_convolution(x, response.to(x.dtype))
