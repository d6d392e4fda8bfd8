"""snnTorch's neurons (1.0.0, read from its code) as layers of a program.

All fire at ``mem - threshold > 0``. By default the reset comes one step late, from the membrane of the step before:

    subtract   mem[t] = beta*mem[t-1] + x[t] - threshold*s[t-1]
               which is an integrator fed back by its own spikes; no LIF says it, for a LIF's beta shrinks the reset too
    zero       mem[t] = beta*(1 - s[t-1])*mem[t-1] + x[t], a LIF with hard reset (Leaky only: the other neurons drop
               x[t] as well)
    none       mem[t] = beta*mem[t-1] + x[t]

In RLeaky and RSynaptic what comes back from its own spikes is added to x[t], the spikes of the step before. Alpha's
membrane is tau_alpha*(exc + inh) with exc[t] = alpha*exc[t-1] + x[t] and inh[t] = beta*inh[t-1] - x[t].

With reset_delay=False, "zero" is the LIF with hard reset in every neuron. "subtract" is nothing that we can say: where
a membrane is still above its threshold after the reset, snnTorch subtracts a second time before it compares.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from convert.modules.arrays import array, fitted
from convert.modules.program_builder import ProgramBuilder
from spikestrip.errors import Refused
from spikestrip.operations import LIF, Affine, Join, LeakyIntegrator, Operation, Scale, Shape, Threshold

STATES = {
    "Leaky": ("mem",),
    "Lapicque": ("mem",),
    "RLeaky": ("spk", "mem"),
    "Synaptic": ("syn", "mem"),
    "RSynaptic": ("spk", "syn", "mem"),
    "Alpha": ("syn_exc", "syn_inh", "mem"),
}
"""The neurons that are known, and what of them is handed from step to step."""

RESETS = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}


@dataclasses.dataclass(frozen=True)
class Fired:
    """The builder that a neuron returns, in snnTorch's order; None for a membrane that is reset to zero: its potential
    before the reset is no stream of a program."""

    spikes: str
    states: tuple[str | None, ...]


def is_neuron(module: nn.Module) -> bool:
    """True for an instance of one of the neurons in STATES, of no subclass."""
    return type(module).__module__.startswith("snntorch.") and type(module).__name__ in STATES


def add_neuron(builder: ProgramBuilder, path: str, module: Any, entering: str) -> Fired:
    """Append the layers of the neuron at ``path``. Raises Refused(path, reason) for what no operation says."""
    kind, shape = type(module).__name__, builder.shapes[entering]
    _check_plain(path, module)
    reset, late = _reset(path, module), getattr(module, "reset_delay", True)
    threshold = fitted(path, "threshold", module.threshold, shape)
    if (threshold < 0).any() and reset != "none" and not (reset == "zero" and late):
        raise Refused(path, "has a negative threshold, at which snnTorch resets a neuron that has not fired")
    factor = fitted(path, "graded_spikes_factor", module.graded_spikes_factor, shape)
    recurrent = kind in ("RLeaky", "RSynaptic")
    if (factor == 0).any() or (recurrent and (factor != 1).any()):
        raise Refused(path, "has a graded_spikes_factor that is zero, or that scales what comes back to it")
    if kind == "Alpha":
        return _alpha(builder, path, module, entering, reset, Threshold(threshold), factor)

    bias = current = membrane = None
    if kind == "Lapicque":
        decay, gain = _circuit(path, module, shape)
        entering = builder.add(f"{path}_in", Scale(gain), entering)  # an integrator's own gain scales resets too
    else:
        decay = _decay(path, "beta", module, shape)
    if recurrent:
        feedback, bias = _recurrent(path, module, shape)
    if kind.endswith("Synaptic"):
        synapse = LeakyIntegrator(_decay(path, "alpha", module, shape), bias=bias)
        current = entering = builder.add(f"{path}_syn", synapse, entering)
        bias = None
    if kind == "RSynaptic" and not late:
        raise Refused(
            path,
            "is a RSynaptic with reset_delay=False, which snnTorch 1.0.0 does not do (it works on the arguments of its "
            "forward, not on its states); reset_delay=True can be converted",
        )

    if reset == "zero":
        if late and kind != "Leaky":
            either = kind in ("RLeaky", "Synaptic")
            change = "'subtract', or reset_delay=False," if either else "'subtract'"
            raise Refused(
                path,
                f"is a {kind} that resets to zero one step late: it then drops that step's input as well, which no "
                f"operation says; reset_mechanism={change} can be converted",
            )
        core = spikes = builder.add(path, LIF(decay, threshold, bias=bias, comparison="gt"), entering)
    else:
        if reset == "subtract" and not late:
            raise Refused(
                path,
                "subtracts with reset_delay=False: a membrane above 2*threshold then resets twice, before its next "
                "comparison, which no operation says; reset_delay=True can be converted",
            )
        core = membrane = builder.add(f"{path}_mem", LeakyIntegrator(decay, bias=bias), entering)
        spikes = builder.add(path, Threshold(threshold), membrane)
        if reset == "subtract":
            builder.feed_back(builder.add(f"{path}_reset", Scale(-threshold), spikes), core)
    if recurrent:
        builder.feed_back(builder.add(f"{path}_recurrent", feedback, spikes), current or core)
    if (factor != 1).any():
        spikes = builder.add(f"{path}_graded", Scale(factor), spikes)
    return Fired(spikes, (membrane,) if current is None else (current, membrane))


def _alpha(
    builder: ProgramBuilder,
    path: str,
    module: Any,
    entering: str,
    reset: str,
    threshold: Threshold,
    factor: np.ndarray,
) -> Fired:
    if reset != "none":
        raise Refused(
            path,
            f"is an Alpha with reset_mechanism={reset!r}, which in the step after a spike drops currents with that "
            "step's input, which no operation says; reset_mechanism='none' can be converted, and so can a Synaptic",
        )
    shape = builder.shapes[entering]
    alpha, beta = (_decay(path, name, module, shape) for name in ("alpha", "beta"))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.log(alpha) / (np.log(beta) - np.log(alpha)) + 1
    if not np.isfinite(gain).all():
        raise Refused(path, "has an alpha or a beta at which snnTorch's own tau_alpha is not finite")
    excited = builder.add(f"{path}_exc", LeakyIntegrator(alpha), entering)
    inhibited = builder.add(f"{path}_inh", LeakyIntegrator(beta, gain=-np.ones(shape)), entering)
    membrane = builder.add(f"{path}_mem", Scale(gain), builder.add(f"{path}_sum", Join(), excited, inhibited))
    spikes = builder.add(path, threshold, membrane)
    if (factor != 1).any():
        spikes = builder.add(f"{path}_graded", Scale(factor), spikes)
    return Fired(spikes, (excited, inhibited, membrane))


def _check_plain(path: str, module: Any) -> None:
    if module.inhibition:
        raise Refused(path, "has inhibition=True: only the strongest neuron fires, which no operation says")
    if module.state_quant:
        raise Refused(path, "quantises its state (state_quant), which no operation says")
    beside = torch.tensor([[-1e30, -1.0, -0.5, -1e-30, -0.0, 0.0, 1e-30, 0.5, 1.0, 1e30]])
    beside = beside.to(module.threshold.device)
    try:
        with torch.no_grad():
            fired = module.spike_grad(beside).float()
    except Exception as error:  # whatever the user's function, or one of snnTorch's, meets
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise Refused(path, f"has a spike_grad that can't run forward: {said}") from error
    if not torch.equal(fired, (beside > 0).float()):
        raise Refused(path, "has a spike_grad that is no step at 0: what goes forward must be 1 above 0, else 0")


def _reset(path: str, module: Any) -> str:
    """What its forward does; the attribute can be set afterwards, without changing that."""
    function = module.state_function
    kind = RESETS.get(getattr(function, "__name__", ""), "")
    number = {"subtract": 0, "zero": 1, "none": 2}.get(kind)
    bound = getattr(function, "__self__", None) is module
    if not bound or number != int(module.reset_mechanism_val):
        raise Refused(
            path,
            f"was made with another reset_mechanism than the {module.reset_mechanism!r} that it states, and "
            "snnTorch still does what it was made with; make it anew",
        )
    return kind


def _decay(path: str, name: str, module: Any, shape: Shape) -> np.ndarray:
    return fitted(path, name, getattr(module, name), shape).clip(0, 1)  # as forward does


def _circuit(path: str, module: Any, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Lapicque's decay and gain: mem[t] = (1 - dt/(R*C))*mem[t-1] + R*(1/(R*C))*dt*x[t]; beta plays no part."""
    r, c, dt = (fitted(path, name, getattr(module, name), shape) for name in ("R", "C", "time_step"))
    if (r * c == 0).any():
        raise Refused(path, "has R*C = 0")
    return 1 - dt / (r * c), r * (1 / (r * c)) * dt


def _recurrent(path: str, module: Any, shape: Shape) -> tuple[Operation, np.ndarray | None]:
    """What brings the spikes of the step before back, and its bias, which is there in the first step too."""
    inner, name = module.recurrent, f"{path}.recurrent"
    if type(inner) is nn.Linear:
        bias = None if inner.bias is None else fitted(name, "bias", inner.bias, shape)
        return Affine(array(name, "weight", inner.weight)), bias
    if type(inner).__name__ == "RecurrentOneToOne":
        return Scale(fitted(name, "V", inner.V, shape)), None
    raise Refused(name, f"is a {type(inner).__name__}; only Linear and one-to-one feedback are known")
