"""spikingjelly's modules (2.0.0, read from its code) as layers of a program; spikingjelly itself is not imported.

    IFNode             v' = v + x
    LIFNode            v' = v + (x - (v - v_reset))/tau, or with decay_input=False  v' = v - (v - v_reset)/tau + x
    ParametricLIFNode  the same with sigmoid(w) for 1/tau
    CUBALIFNode        c = c_decay*c + x;  v' = v_decay*v + c
    s = (v' >= v_threshold);  v = v_reset where s = 1, or with v_reset=None  v' - v_threshold*s;  v begins at v_reset

Layers of spikingjelly.activation_based.layer are torch's own, on one step ("s") or on (T, B, ...) ("m").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from convert.modules.arrays import array
from convert.modules.program_builder import ProgramBuilder
from convert.modules.resting import lif
from spikestrip.errors import Refused
from spikestrip.operations import Affine, LeakyIntegrator

HOME = "spikingjelly."
NEURONS = ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode", "SimpleIFNode", "SimpleLIFNode")
SEQUENCES = ("MultiStepContainer", "SeqToANNContainer", "StepModeContainer")
"""Containers that run what they hold on each step of (T, B, ...)."""

DROPPED = {"Dropout": nn.Dropout, "Dropout2d": nn.Dropout2d}


def is_neuron(module: nn.Module) -> bool:
    """True for an instance of one of NEURONS, of no subclass."""
    return type(module).__module__.startswith(HOME) and type(module).__name__ in NEURONS


def is_container(module: nn.Module) -> bool:
    return type(module).__module__.startswith(HOME) and type(module).__name__ in SEQUENCES


def takes_sequences(module: Any) -> bool | None:
    """Whether it takes (T, B, ...), or one step; None for what is no module of spikingjelly with a step mode."""
    if not type(module).__module__.startswith(HOME):
        return None
    if type(module).__name__ in ("MultiStepContainer", "SeqToANNContainer"):
        return True
    mode = getattr(module, "step_mode", None)
    return None if mode is None else mode == "m"


def merges_steps(module: Any) -> bool:
    """True for a container that gives all steps to what it holds as one batch."""
    kind = type(module).__name__
    return kind == "SeqToANNContainer" or (
        kind == "StepModeContainer" and module.step_mode == "m" and not module.stateful
    )


def torch_type(module: nn.Module) -> type[nn.Module] | None:
    """The layer of torch that a layer of spikingjelly wraps, if it changes nothing else."""
    kind = type(module)
    if not kind.__module__.startswith(f"{HOME}activation_based.layer"):
        return None
    if kind.__name__ in DROPPED:
        return DROPPED[kind.__name__]
    return next((base for base in kind.__bases__ if base is getattr(nn, kind.__name__, None)), None)


def is_voting(module: nn.Module) -> bool:
    return type(module).__module__.startswith(HOME) and type(module).__name__ == "VotingLayer"


def voting(path: str, module: Any, shape: tuple[int, ...]) -> Affine:
    """The mean of each ``voting_size`` outputs in a row."""
    size = int(module.voting_size)
    if len(shape) != 1 or shape[0] < size:
        raise Refused(path, f"votes by {size} of a step of {shape}; a row of them is known")
    groups = shape[0] // size
    weight = np.zeros((groups, shape[0]))
    weight[:, : groups * size] = np.kron(np.eye(groups), np.full((1, size), 1 / size))
    return Affine(weight)


def add_neuron(builder: ProgramBuilder, path: str, module: Any, entering: str) -> str:
    """Append the layers of the neuron at ``path``; returns its spikes. Raises Refused(path, reason)."""
    shape, kind = builder.shapes[entering], type(module).__name__
    _check_plain(path, module)

    def full(value: float) -> np.ndarray:
        return np.full(shape, float(value))

    reset = 0.0 if module.v_reset is None else module.v_reset
    decay, gain, rest = full(1), full(1), full(reset)
    if kind in ("LIFNode", "SimpleLIFNode", "ParametricLIFNode"):
        leak = _leak(path, module, kind)
        decay, gain = full(1 - leak), full(leak if module.decay_input else 1)
    elif kind == "CUBALIFNode":
        entering = builder.add(f"{path}_current", LeakyIntegrator(full(module.c_decay)), entering)
        decay, rest = full(module.v_decay), full(0)
    start = module._memories_rv["v"]
    if not isinstance(start, int | float):
        raise Refused(path, "begins at a potential that is no number; set_reset_value('v', 0.) can be converted")
    neuron = lif(
        *(path, decay, gain, full(module.v_threshold)),
        start=full(start),
        rest=rest,
        v_reset=None if module.v_reset is None else full(reset),
        comparison="ge",
    )
    return builder.add(path, neuron, entering)


def rest(module: Any) -> None:
    """Put what the module remembers to where it begins."""
    if "_memories" in vars(module) and type(module).__module__.startswith(HOME):
        module._memories.update(module._memories_rv)


def _leak(path: str, module: Any, kind: str) -> float:
    if kind == "ParametricLIFNode":
        return float(torch.sigmoid(torch.from_numpy(array(path, "w", module.w).astype(np.float64))))
    return 1 / float(module.tau)


def _check_plain(path: str, module: Any) -> None:
    beside = torch.tensor([[-1e30, -1.0, -0.5, -1e-30, 0.0, 1e-30, 0.5, 1.0, 1e30]])
    try:
        with torch.no_grad():
            fired = module.surrogate_function(beside).float()
    except Exception as error:  # whatever the user's function meets
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise Refused(path, f"has a surrogate_function that can't run forward: {said}") from error
    if not torch.equal(fired, (beside >= 0).float()):
        raise Refused(path, "has a surrogate_function that is no step at 0: call set_spiking_mode(True) on it")
    if getattr(module, "_neuron_precision", None) is not None:
        raise Refused(path, "computes in a reduced precision, which is another neuron; train it in float32")
