"""train.ssm's S4D with features last."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from train import ssm
from train.nn.compiling import as_it_is


class S4D(ssm.S4D):
    """Diagonal state-space layer, one system for each channel (Gu et al. 2022, arXiv:2206.11893), causal.

    h[t] = Abar h[t-1] + Bbar x[t];   y[t] = 2 Re(sum_n C_n h_n[t]) + D x[t]

    ``d_state`` counts real states: d_state/2 complex modes, each standing for a conjugate pair. Trainable: ``log_dt``
    (H,), ``log_A_real``, ``A_imag`` (H, N), ``B``, ``C`` (H, N, 2) as real pairs, ``D`` (H,); Abar and Bbar are made
    of them in float64. ``init``: "lin", "inv" or "legs"; ``rule``: "zoh" or "bilinear"; ``dt_range``: where dt starts,
    in steps; ``train_b`` False keeps B as it is. Raises BadInput for options or values that make no such layer.
    """

    @as_it_is
    def forward(self, x: Tensor, form: Literal["block", "fft", "recurrent"] = "block") -> Tensor:
        """x (B, L, H) -> y (B, L, H), in the dtype of x, which is float32 or float64."""
        return super().forward(x.mT, form).mT
