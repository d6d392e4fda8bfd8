"""The networks: encoder, blocks, head.

A block is S4D -> spiking neuron -> mix, with a residual (SpikingSSM, Shen et al. 2024, arXiv:2408.14909; SPikE-SSM with
another neuron), or that of P-SpikeSSM (train.pspikessm).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikestrip.errors import BadInput
from train.neurons.methods import METHODS, spikes
from train.neurons.neuron import Neuron, Reset
from train.norms import Norm, make_norm, normalise
from train.pspikessm import ProbabilisticBlock
from train.ssm import S4D

Mix = Literal["linear", "glu"]
Model = Literal["spikingssm", "spikessm", "pspikessm"]
Readout = Literal["mean", "sequence"]

RESETS: dict[str, tuple[str, ...]] = {
    "spikingssm": ("hard", "soft"),
    "spikessm": ("refractory",),
    "pspikessm": ("none",),
}
"""What a spike does to the neuron, the paper's own first; drawn spikes (pspikessm) do nothing."""


@dataclasses.dataclass(frozen=True)
class Config:
    """All that fixes a network's shape and arithmetic, apart from its weights.

    d_input: channels of an input step (or the vocabulary, if ``tokens``); d_output: classes.
    d_state: N, the complex modes kept of each conjugate pair (2N real states a channel).
    tau: decay of the membrane potential in (0, 1]. ``tau_r``, ``uth``: where refractory variables start (trained).
    prenorm: normalise the block's input instead of the sum after it.
    parallel: how the spikes are computed in parallel, a name in train.neurons.methods.METHODS; pspikessm draws all
        steps at once, so it takes none that approximates or iterates.
    seed: of the random spikes of pspikessm, 0 .. 2^63 - 1.
    """

    d_input: int
    d_output: int
    d_model: int = 64
    d_state: int = 32
    layers: int = 2
    model: Model = "spikingssm"
    mix: Mix = "linear"
    norm: Norm = "batch"
    prenorm: bool = False
    dropout: float = 0.0
    readout: Readout = "mean"
    tokens: bool = False
    reset: Reset | Literal["none"] = "hard"
    tau: float = 0.125
    tau_r: float = 0.5
    uth: float = 1.0
    surrogate: str = "triangle"
    parallel: str = "scan"
    ssm_init: str = "lin"
    ssm_rule: str = "zoh"
    seed: int = 0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        if self.bidirectional:
            raise BadInput("config", "the kernels are bidirectional: they read the future, so no step can run them")
        choices = {
            "model": get_args(Model), "mix": get_args(Mix), "norm": get_args(Norm), "readout": get_args(Readout),
            "parallel": tuple(METHODS),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadInput("config", f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        if self.reset not in RESETS[self.model]:
            raise BadInput(
                "config", f"{self.model} has no {self.reset!r} reset; it has {', '.join(RESETS[self.model])}"
            )
        if self.model == "pspikessm" and self.prenorm:
            raise BadInput("config", "pspikessm normalises in its FuseClamp; it has no prenorm")
        if self.model == "pspikessm" and self.parallel in ("sdn", "pmbc"):
            raise BadInput("config", f"pspikessm draws all steps at once; {self.parallel} has nothing to compute")
        if not 0 <= self.seed < 1 << 63:
            raise BadInput("config", f"seed is {self.seed}, not in 0 .. 2^63 - 1")
        for name in ("d_input", "d_output", "d_model", "d_state", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInput("config", f"{name} is {value!r}, not a number of at least 1")
        if not 0 < self.tau <= 1:
            raise BadInput("config", f"tau is {self.tau}, not in (0, 1]")
        if not 0 <= self.dropout < 1:
            raise BadInput("config", f"dropout is {self.dropout}, not in [0, 1)")

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Config:
        """A config from a checkpoint's dictionary. Raises BadInput for a missing, unknown or impossible entry."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise BadInput("config", f"has unknown entries: {', '.join(unknown)}")
        missing = [name for name, field in known.items() if field.default is dataclasses.MISSING and name not in values]
        if missing:
            raise BadInput("config", f"lacks {', '.join(missing)}")
        for name, value in values.items():
            expected = type(known[name].default) if known[name].default is not dataclasses.MISSING else int
            if not isinstance(value, expected) and not (expected is float and isinstance(value, int)):
                raise BadInput("config", f"{name} is {value!r}, not a {expected.__name__}")
        return cls(**values)


class SpikingNeuron(nn.Module):
    """A layer of H neurons with learned thresholds, computed over the whole sequence by ``method``.

    The threshold is exp(ln_vth); the refractory decay sigmoid(logit_tau_r) and strength Uth = exp(ln_uth) >= 0.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.method = config.parallel
        self.ln_vth = nn.Parameter(torch.zeros(config.d_model))
        if config.reset == "refractory":
            self.logit_tau_r = nn.Parameter(
                torch.full((config.d_model,), float(torch.logit(torch.tensor(config.tau_r))))
            )
            self.ln_uth = nn.Parameter(torch.full((config.d_model,), float(torch.log(torch.tensor(config.uth)))))

    def neuron(self, dtype: torch.dtype) -> Neuron:
        """The neuron's parameters in ``dtype``, derived in float64."""
        assert self.config.reset != "none"
        refractory = self.config.reset == "refractory"
        return Neuron(
            reset=self.config.reset,
            tau=torch.tensor(self.config.tau, dtype=dtype, device=self.ln_vth.device),
            vth=self.ln_vth.double().exp().to(dtype),
            tau_r=self.logit_tau_r.double().sigmoid().to(dtype) if refractory else None,
            uth=self.ln_uth.double().exp().to(dtype) if refractory else None,
            surrogate=self.config.surrogate,
        )

    def forward(self, x: Tensor) -> Tensor:
        return spikes(x, self.neuron(x.dtype), self.method)


class Block(nn.Module):
    """x -> [norm] -> S4D -> neuron -> mix -> + x -> [norm], on (B, H, L)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.d_model
        self.config = config
        self.ssm = S4D(width, 2 * config.d_state, init=config.ssm_init, rule=config.ssm_rule)
        self.neuron = SpikingNeuron(config)
        self.mix = nn.Linear(width, 2 * width if config.mix == "glu" else width)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = make_norm(config.norm, width)

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, list[Tensor]]:
        """(B, H, L) -> the block's output (B, H, L) and its spikes (B, H, L); the samples' numbers don't matter."""
        z = normalise(self.norm, x) if self.config.prenorm else x
        fired = self.neuron(self.ssm(z))
        z = _over_channels(self.mix, fired)
        if self.config.mix == "glu":
            z = F.glu(z, dim=1)
        x = x + self.dropout(z)
        return (x if self.config.prenorm else normalise(self.norm, x)), [fired]


class Network(nn.Module):
    """Encoder -> blocks -> head -> readout. Parallel over time."""

    blocks: Sequence[Block | ProbabilisticBlock]

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Linear(config.d_input, config.d_model)
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            ProbabilisticBlock(config, index) if config.model == "pspikessm" else Block(config)
            for index in range(config.layers)
        )
        self.head = nn.Linear(config.d_model, config.d_output)

    def set_parallel(self, method: str) -> None:
        """Compute the spikes by ``method`` from now on."""
        self.config = dataclasses.replace(self.config, parallel=method)
        for module in self.modules():
            if isinstance(module, SpikingNeuron):
                module.method = method

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, list[Tensor]]:
        """x: (B, L, d_input), or token ids (B, L) or (B, L, 1) if ``tokens``.

        The rows are the samples first_sample, first_sample + 1, ...: random spikes are drawn by that number.
        Returns logits, (B, d_output) for a mean-pool readout or (B, L, d_output), and the spikes (B, H, L) of each
        spiking layer.
        """
        if self.config.tokens:
            ids = x[..., 0] if x.ndim == 3 else x
            x = (F.embedding(ids, self.encoder.weight.T) + self.encoder.bias).transpose(1, 2).contiguous()
        else:
            x = _over_channels(self.encoder, x.transpose(1, 2))
        trains = []
        for block in self.blocks:
            x, fired = block(x, first_sample)
            trains += fired
        if self.config.readout == "mean":
            return self.head(x.mean(dim=-1)), trains
        return self.head(x.transpose(1, 2)), trains


def _over_channels(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear`` over the channels of x (B, C, L), without moving time to the last place and back."""
    return torch.baddbmm(linear.bias[:, None], linear.weight.expand(len(x), -1, -1), x)
