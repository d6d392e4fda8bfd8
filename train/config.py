"""The shape and arithmetic of a network: what a checkpoint's ``config`` holds."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from spikestrip.errors import BadInput
from train.neurons.methods import METHODS
from train.neurons.neuron import Reset
from train.options import Mix, Model, NetworkOptions, Norm

Readout = Literal["mean", "sequence"]
SSMActivation = Literal["none", "gelu"]

RESETS: dict[str, tuple[str, ...]] = {
    "spikingssm": ("hard", "soft"),
    "spikessm": ("refractory",),
    "pspikessm": ("none",),
}
"""What a spike does to the neuron, the paper's own first; drawn spikes (pspikessm) do nothing."""


LARGEST = 1 << 24
"""Of each size of a network: products of two of them are numbers that torch can count with."""


@dataclasses.dataclass(frozen=True)
class Config(NetworkOptions):
    """All that fixes a network's shape and arithmetic, apart from its weights; a user chooses NetworkOptions.

    d_input: channels of an input step (or the vocabulary, if ``tokens``); d_output: classes.
    d_state: N, the complex modes kept of each conjugate pair (2N real states a channel).
    tau: decay of the membrane potential in (0, 1]. ``tau_r``, ``uth``: where refractory variables start (trained).
    gain: where a of pspikessm's samplers starts (trained): the steeper, the less is left to chance.
    prenorm: normalise the block's input instead of the sum after it.
    dropout: share of the mix's values left out in training; ``tie_dropout``: one mask for all steps of a sequence and
        channel (DropoutNd of the S4 code); ``drop_spikes``: the same on the spikes, before they are mixed.
    learn_threshold: false keeps every threshold at 1.
    ssm_activation: between the SSM and the sampler of pspikessm: in our reading none in the paper, GELU in its public
        fork.
    residual: false, in pspikessm alone, has the mixed spikes without the stream that entered the block.
    parallel: how the spikes are computed in parallel, a name in train.neurons.methods.METHODS; pspikessm draws all
        steps at once, so it takes none that approximates or iterates.
    pmbc_iterations: the paper's fixed number of iterations M, which misses spikes; 0 goes on until the bounds meet.
    seed: of the random spikes of pspikessm, 0 .. 2^63 - 1.
    """

    d_input: int
    d_output: int
    readout: Readout = "mean"
    tokens: bool = False
    reset: Reset | Literal["none"] = "hard"
    tau_r: float = 0.5
    uth: float = 1.0
    surrogate: str = "triangle"
    parallel: str = "scan"
    ssm_init: str = "lin"
    ssm_rule: str = "zoh"
    pmbc_iterations: int = 0
    bidirectional: bool = False
    ssm_activation: SSMActivation = "none"
    residual: bool = True

    def __post_init__(self) -> None:
        if self.bidirectional:
            raise BadInput("config", "the kernels are bidirectional: they read the future, so no step can run them")
        choices = {
            "model": get_args(Model), "mix": get_args(Mix), "norm": get_args(Norm), "readout": get_args(Readout),
            "parallel": tuple(METHODS), "ssm_activation": get_args(SSMActivation),
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
        if self.model == "pspikessm" and (self.drop_spikes or not self.learn_threshold):
            raise BadInput("config", "pspikessm has no thresholds and drops no spikes: learn_threshold, drop_spikes")
        if self.model != "pspikessm" and self.ssm_activation != "none":
            raise BadInput("config", f"{self.model} has no ssm_activation: its neuron follows the SSM")
        if self.model != "pspikessm" and not self.residual:
            raise BadInput("config", f"{self.model} always has its residual: only pspikessm can be without")
        if self.model != "pspikessm" and self.gain != 1:
            raise BadInput("config", f"{self.model} has no samplers, whose gain could be {self.gain}")
        if not 0 < self.gain < float("inf"):
            raise BadInput("config", f"gain is {self.gain}, not above 0")
        if not 0 <= self.seed < 1 << 63:
            raise BadInput("config", f"seed is {self.seed}, not in 0 .. 2^63 - 1")
        for name in ("d_input", "d_output", "d_model", "d_state", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
                raise BadInput("config", f"{name} is {value!r}, not a number from 1 to {LARGEST:,}")
        if not 0 < self.tau <= 1:
            raise BadInput("config", f"tau is {self.tau}, not in (0, 1]")
        if not 0 < self.tau_r < 1 or not 0 < self.uth < float("inf"):
            raise BadInput("config", f"tau_r is {self.tau_r} and uth {self.uth}, not in (0, 1) and above 0")
        if self.pmbc_iterations < 0:
            raise BadInput("config", f"pmbc_iterations is {self.pmbc_iterations}, not at least 0")
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
