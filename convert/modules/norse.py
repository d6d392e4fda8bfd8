"""norse's neurons (1.1.0, read from its code) as layers of a program; norse itself is not imported.

With the current i' = i + x (for recurrent cells W_in x + W_rec z), which decays after it was read, and c = dt/tau:

    LIF, LI        v' = v + c_mem*((v_leak - v) + i');  i = i' - c_syn*i'
    LIFBox, LIBox  v' = v + c_mem*((v_leak - v) + x)
    IAF            v' = v + x
    z = (v' > v_th);  v = v_reset where z = 1, or with reset_subtract  v' - v_th*z

v begins at v_leak, IAF's at v_reset. Names that end in Cell take one step, the others (T, B, ...).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from convert.modules.arrays import array, fitted
from convert.modules.neurons import Fired
from convert.modules.program_builder import ProgramBuilder
from convert.modules.resting import lif
from spikestrip.errors import Refused
from spikestrip.operations import Affine, LeakyIntegrator, Shape

HOME = "norse."
SPIKING = ("LIF", "LIFCell", "LIFBoxCell", "LIFRecurrent", "LIFRecurrentCell", "IAF", "IAFCell")
INTEGRATORS = ("LI", "LICell", "LIBoxCell", "LILinearCell")
SEQUENCES = ("LIF", "LIFRecurrent", "IAF", "LI")
STEPS = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")
"""Methods whose forward is a step at 0."""


def is_neuron(module: nn.Module) -> bool:
    """True for an instance of one of SPIKING and INTEGRATORS, of no subclass."""
    return type(module).__module__.startswith(HOME) and type(module).__name__ in (*SPIKING, *INTEGRATORS)


def is_spiking(module: nn.Module) -> bool:
    return type(module).__name__ in SPIKING


def is_container(module: nn.Module) -> bool:
    """True for SequentialState, which hands each neuron its state."""
    return type(module).__module__.startswith(HOME) and type(module).__name__ == "SequentialState"


def is_lift(module: nn.Module) -> bool:
    """True for what runs a layer on each step of (T, B, ...)."""
    return type(module).__module__.startswith(HOME) and type(module).__name__ == "Lift"


def takes_sequences(module: nn.Module) -> bool:
    return type(module).__name__ in SEQUENCES


def add_neuron(builder: ProgramBuilder, path: str, module: Any, entering: str) -> Fired:
    """Append the layers of the neuron at ``path``. Raises Refused(path, reason) for what no operation says."""
    kind, p = type(module).__name__, module.p
    weight = getattr(module, "input_weights", None)
    if weight is not None:
        entering = builder.add(f"{path}_in", Affine(array(path, "input_weights", weight)), entering)
    shape = builder.shapes[entering]
    if not kind.startswith("IAF"):
        decay, gain = _decay(path, "tau_mem_inv", module, shape)
    synapse = entering
    if hasattr(p, "tau_syn_inv"):
        remaining = _decay(path, "tau_syn_inv", module, shape)[0]
        synapse = entering = builder.add(f"{path}_current", LeakyIntegrator(remaining), entering)
    if kind in INTEGRATORS:
        if _values(path, "v_leak", p, shape).any():
            raise Refused(path, "is an integrator that begins at v_leak; v_leak = 0, and a bias after it, can be said")
        return Fired(builder.add(path, LeakyIntegrator(decay, gain=gain), entering), (None,))

    if p.method not in STEPS:
        raise Refused(path, f"has method {p.method!r}; known are {', '.join(STEPS)}")
    threshold, v_reset = (_values(path, name, p, shape) for name in ("v_th", "v_reset"))
    reset = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if reset not in ("reset_value", "reset_subtract"):
        raise Refused(path, f"has reset_method {reset}; reset_value and reset_subtract are known")
    if kind.startswith("IAF"):
        decay = gain = np.ones(shape)
        start = v_reset
    else:
        start = _values(path, "v_leak", p, shape)
    neuron = lif(
        *(path, decay, gain, threshold),
        start=start,
        rest=start,
        v_reset=v_reset if reset == "reset_value" else None,
        comparison="gt",
    )
    spikes = builder.add(path, neuron, entering)
    if hasattr(module, "recurrent_weights"):
        feedback = Affine(array(path, "recurrent_weights", module.recurrent_weights))
        builder.feed_back(builder.add(f"{path}_recurrent", feedback, spikes), synapse)
    return Fired(spikes, (None,))


def _decay(path: str, name: str, module: Any, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """1 - c and c = dt/tau, which norse computes in the dtype of its parameters."""
    with torch.no_grad():
        share = fitted(path, name, torch.as_tensor(module.dt * getattr(module.p, name)), shape)
    return 1 - share, share


def _values(path: str, name: str, p: Any, shape: Shape) -> np.ndarray:
    return fitted(path, name, torch.as_tensor(getattr(p, name)), shape)
