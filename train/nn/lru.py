"""The linear recurrent unit: a diagonal system that all channels share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spikestrip.errors import BadInput
from train.neurons.checks import require
from train.nn.compiling import as_it_is
from train.ssm.block_convolution import block_convolution


class LRU(nn.Module):
    """Linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349), the layer of S5 too, causal.

    h[t] = a h[t-1] + b x[t];   y[t] = Re(c h[t]) + D x[t];   a = exp(-exp(nu) + i theta),  b = exp(log_gamma) B

    h has ``d_state`` complex modes. Trainable: ``nu``, ``theta``, ``log_gamma`` (N,), ``B`` (N, H, 2) and ``C``
    (H, N, 2) as real pairs, ``D`` (H,); a and b are made of them in float64. They start as in the paper: |a|
    between ``r_min`` and ``r_max``, uniform on that ring with angles up to ``max_phase``, gamma = sqrt(1 - |a|^2).
    (The paper trains log theta; theta itself can be 0 or negative.)
    Raises BadInput for options or values that make no such layer.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__()
        if d_model < 1 or d_state < 1:
            raise BadInput("LRU", f"d_model is {d_model} and d_state {d_state}, they must be at least 1")
        if not 0 <= r_min < r_max <= 1:
            raise BadInput("LRU", f"r_min is {r_min} and r_max {r_max}, it must be 0 <= r_min < r_max <= 1")
        self.d_model, self.d_state = d_model, d_state
        inside = r_min**2 + torch.rand(d_state) * (r_max**2 - r_min**2)  # |a|^2
        inside = inside.clamp(torch.finfo(torch.float32).tiny, 1 - 2**-20)
        self.nu = nn.Parameter((-0.5 * inside.log()).log())
        self.theta = nn.Parameter(torch.rand(d_state) * max_phase)
        self.log_gamma = nn.Parameter(0.5 * (1 - inside).log())
        self.B = nn.Parameter(torch.randn(d_state, d_model, 2) / math.sqrt(2 * d_model))
        self.C = nn.Parameter(torch.randn(d_model, d_state, 2) / math.sqrt(d_state))
        self.D = nn.Parameter(torch.randn(d_model))

    @classmethod
    def of(cls, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> LRU:
        """The layer of these discrete values, in float64, to rounding: a (N,), b (N, H), c (H, N) complex or real,
        0 < |a| < 1, and d (H,) real.

        An S5 with ``conj_sym`` computes 2 Re(c h): give 2*c. Raises BadInput for what makes no such layer.
        """
        a, b, c = (value.detach().to(torch.complex128) for value in (a, b, c))
        layer = cls(b.shape[-1], len(a)).double()
        for name, value, shape in (("b", b, (layer.d_state, layer.d_model)), ("c", c, (layer.d_model, layer.d_state)),
                                   ("d", d, (layer.d_model,))):  # fmt: skip
            if value.shape != shape:
                raise BadInput("LRU", f"{name} has shape {tuple(value.shape)}, it must be {shape}")
        if not bool(((a.abs() > 0) & (a.abs() < 1)).all()):
            raise BadInput("LRU", "a mode isn't inside the unit circle, or is 0: it must be 0 < |a| < 1")
        made = {"nu": (-a.abs().log()).log(), "theta": a.angle(), "log_gamma": torch.zeros(len(a))}
        made |= {"B": torch.view_as_real(b.resolve_conj()), "C": torch.view_as_real(c.resolve_conj()), "D": d.detach()}
        layer.load_state_dict(made)
        return layer

    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """a (N,), b (N, H) and c (H, N) as complex128, D (H,) as float64. Raises BadInput for parameters with a NaN."""
        require(torch.isfinite(torch.cat([value.detach().flatten() for value in self.parameters()])), _not_finite)
        a = torch.exp(torch.complex(-torch.exp(self.nu.double()), self.theta.double()))
        b = torch.exp(self.log_gamma.double())[:, None] * torch.view_as_complex(self.B.double())
        return a, b, torch.view_as_complex(self.C.double()), self.D.double()

    @as_it_is
    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, H) -> y (B, L, H), in the dtype of x, which is float32 or float64."""
        if x.ndim != 3 or x.shape[-1] != self.d_model or 0 in x.shape:
            raise BadInput("LRU", f"input has shape {tuple(x.shape)}, it must be (B, L, {self.d_model})")
        if x.dtype not in (torch.float32, torch.float64):
            raise BadInput("LRU", f"input is {x.dtype}, it must be float32 or float64")
        a, b, c, d = self.matrices()
        into, out = (torch.cat(pair).to(x.dtype) for pair in ((b.real, b.imag), (c.real.mT, -c.imag.mT)))
        modes = _recurrence(a, (x @ into.mT).mT.unflatten(1, (2, -1)))
        return modes.flatten(1, 2).mT @ out + d.to(x.dtype) * x


def _not_finite() -> BadInput:
    return BadInput("LRU", "a parameter holds a NaN or an infinity")


def _recurrence(a: Tensor, u: Tensor) -> Tensor:
    """h[t] = a h[t-1] + u[t] over complex numbers as pairs of reals: a complex128 (N,), u (B, 2, N, L) -> h, like u.

    Re(a**l) and Im(a**l) are each a kernel 2 Re(w a**l) of one mode, convolved with both parts of u.
    """
    half = torch.full_like(a, 0.5)
    w = torch.cat((half, -1j * half))[:, None]
    none = a.real.new_zeros(len(w))
    both = u.flatten(0, 1).repeat(1, 2, 1)
    parts = block_convolution(both, a.repeat(2)[:, None], w, none).unflatten(1, (2, -1)).unflatten(0, (-1, 2))
    return torch.stack((parts[:, 0, 0] - parts[:, 1, 1], parts[:, 0, 1] + parts[:, 1, 0]), 1)
