"""The neuron and the block of train.networks with features last, and with the fastest exact way to compute them."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from spikestrip.errors import BadInput
from train.config import Config
from train.networks import Block, SpikingNeuron
from train.nn.compiling import as_it_is
from train.options import Mix, Norm

Reset = Literal["hard", "soft", "refractory"]


def _config(size: int, reset: Reset, tau: float, learn_threshold: bool, **others: Any) -> Config:
    return Config(
        model="spikessm" if reset == "refractory" else "spikingssm",
        d_input=size,
        d_output=size,
        d_model=size,
        reset=reset,
        tau=tau,
        learn_threshold=learn_threshold,
        **others,
    )


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire neurons, one for each of ``size`` channels, over whole sequences; exact, no surrogate.

    u'[t] = tau*u[t-1] + x[t];  s = (u' >= vth);  hard: u = u'*(1 - s);  soft: u = u' - vth*s
    refractory: R[t] = tau_r*R[t-1] + s[t-1];  u'[t] = tau*u[t-1] + x[t] - uth*R[t];  u = u' - vth*s

    The threshold vth = exp(``ln_vth``), (size,), starts at 1 and is learned unless ``learn_threshold`` is False; of the
    refractory neuron tau_r = sigmoid(``logit_tau_r``) and uth = exp(``ln_uth``) are learned too. Gradients are those of
    the loop over time with the triangle surrogate. Raises BadInput for a tau outside (0, 1], and for input that isn't
    finite.
    """

    def __init__(self, size: int, tau: float = 0.125, *, reset: Reset = "hard", learn_threshold: bool = True) -> None:
        super().__init__(_config(size, reset, tau, learn_threshold))
        self.method = None

    @as_it_is
    def forward(self, x: Tensor) -> Tensor:
        """The current x (B, L, size) -> spikes (B, L, size), 0 or 1 in the dtype of x, which is float32 or float64."""
        return super().forward(x.mT).mT


class SpikingSSM(nn.Module):
    """A block of SpikingSSM (Shen et al. 2024, arXiv:2408.14909): x -> S4D -> LIF -> mix -> + x -> norm.

    ``d_state`` is S4D's; ``tau``, ``reset`` and ``learn_threshold`` are LIF's. ``mix``: "linear", or "glu", a Linear to
    2 d_model and a gate. ``norm``: "batch", "layer" or "none"; ``prenorm`` norms the input of the S4D instead. The
    published block is mix "glu", norm "none", or norm "layer" with prenorm; ``dropout``, on the mix, with
    ``tie_dropout`` (one mask for all steps) and ``drop_spikes`` (on the spikes too).
    Raises BadInput for options that make no such block.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        *,
        tau: float = 0.125,
        reset: Reset = "hard",
        learn_threshold: bool = True,
        mix: Mix = "linear",
        norm: Norm = "batch",
        prenorm: bool = False,
        dropout: float = 0.0,
        tie_dropout: bool = False,
        drop_spikes: bool = False,
    ) -> None:
        super().__init__()
        if d_state < 2 or d_state % 2:
            raise BadInput("SpikingSSM", f"d_state is {d_state}, it must be even and at least 2")
        drops = {"dropout": dropout, "tie_dropout": tie_dropout, "drop_spikes": drop_spikes}
        shape = {"d_state": d_state // 2, "mix": mix, "norm": norm, "prenorm": prenorm}
        self.block = Block(_config(d_model, reset, tau, learn_threshold, **shape, **drops))
        self.block.neuron.method = None

    @as_it_is
    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d_model) -> the same shape, in the dtype of the parameters. Its spikes: a hook on ``block.neuron``,
        which gives them as (B, d_model, L)."""
        y, _ = self.block(x.mT)
        return y.mT
