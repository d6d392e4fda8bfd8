"""The spiking neuron that every parallel form computes: its kind and its parameters, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.neurons.checks import require
from train.neurons.surrogate import SURROGATES

Reset = Literal["hard", "soft", "refractory"]
Gradient = Literal["bptt", "sltt"]


@dataclass(frozen=True)
class Neuron:
    """A leaky integrate-and-fire neuron with a reset (docs/api.md).

    hard        u'[t] = tau*u[t-1] + x[t];  s = (u' >= vth);  u = u'*(1 - s)
    soft        u'[t] = tau*u[t-1] + x[t];  s = (u' >= vth);  u = u' - vth*s
    refractory  R[t] = tau_r*R[t-1] + s[t-1];  u'[t] = tau*u[t-1] + x[t] - uth*R[t];  s = (u' >= vth);
                u = u' - vth*s if ``soft`` else u'        (our reading of SPikE-SSM)

    Each of ``tau``, ``vth``, ``tau_r``, ``uth`` is a tensor of shape () or (H,), of the dtype of the input.
    The surrogate gradient is evaluated on the normalised distance d = (u' - vth)/vth:
    ds/du' = surrogate(d)/vth, which is the papers' neuron at threshold 1 fed with x/vth.
    ``gradient``: "bptt" differentiates through time and through the reset; "sltt" drops every temporal path:
    the state that a step receives from the step before it is a constant.
    """

    reset: Reset
    tau: Tensor
    vth: Tensor
    tau_r: Tensor | None = None
    uth: Tensor | None = None
    soft: bool = True
    surrogate: str = "triangle"
    gradient: Gradient = "bptt"

    @property
    def kind(self) -> str:
        """One word for what is subtracted after a spike: "hard", "soft", "refractory" or "refractory_only"."""
        return "refractory_only" if self.reset == "refractory" and not self.soft else self.reset

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters that this kind of neuron has, by name."""
        named = {"tau": self.tau, "vth": self.vth, "tau_r": self.tau_r, "uth": self.uth}
        used = ("tau", "vth", "tau_r", "uth") if self.reset == "refractory" else ("tau", "vth")
        absent = [name for name in used if named[name] is None]
        if absent:
            raise BadInput("neuron", f"a {self.reset} neuron needs {' and '.join(absent)}")
        return {name: value for name, value in named.items() if name in used and value is not None}


def check(x: Tensor, neuron: Neuron) -> None:
    """Refuse, by name, an input or a neuron that no method computes. x: (B, H, L), float32 or float64."""
    if x.dim() != 3 or 0 in x.shape:
        raise BadInput("neuron input", f"shape {tuple(x.shape)}, expected (B, H, L) with none of them 0")
    if x.dtype not in (torch.float32, torch.float64):
        raise BadInput("neuron input", f"dtype {x.dtype}, expected float32 or float64")
    for word, known in (
        (neuron.reset, ("hard", "soft", "refractory")),
        (neuron.gradient, ("bptt", "sltt")),
        (neuron.surrogate, tuple(SURROGATES)),
    ):
        if word not in known:
            raise BadInput("neuron", f"unknown {word!r}, expected one of {', '.join(known)}")
    for name, value in neuron.parameters.items():
        if value.shape not in ((), (x.shape[1],)) or value.dtype != x.dtype or value.device != x.device:
            raise BadInput(
                f"neuron {name}",
                f"shape {tuple(value.shape)}, {value.dtype}, {value.device}; expected () or ({x.shape[1]},), "
                f"{x.dtype}, {x.device}",
            )
    require(neuron.vth > 0, _threshold)


def check_finite(last: Tensor) -> None:
    """Refuse a run whose last membrane potential isn't finite.

    A NaN or infinity in the input, or an overflow, stays in the potential to the end (0*NaN, inf - inf and inf*0
    are NaN), while ``NaN >= vth`` is false: it would pass for silence. So the last step tells for all steps.
    """
    require(torch.isfinite(last), _not_finite)


def _threshold() -> BadInput:
    return BadInput("neuron vth", "the threshold must be above 0")


def _not_finite() -> BadInput:
    return BadInput("neuron input", "holds NaN or infinity, or the membrane potential overflowed")
