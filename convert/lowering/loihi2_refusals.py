"""What a mapping has no process for: the reason, as a value."""

from __future__ import annotations

import numpy as np

from spikestrip.operations import LIF, S4D, Affine, Join, LeakyIntegrator, Operation, RefractoryLIF, Scale
from spikestrip.program import INPUT, Layer, Program


def reason_against(program: Program, layer: Layer, microcode: bool = False) -> str | None:
    """Why stock fixed-point Lava, or the programmable neurons of ``microcode``, can't hold ``layer``; or None."""
    operation = layer.operation
    if layer.delayed:
        return "reads the previous step of another layer; only an SSM recurs here"
    if isinstance(operation, LIF) or (microcode and isinstance(operation, RefractoryLIF)):
        reason = _neuron(operation, microcode)
        if reason is not None:
            return reason
        if not (operation.threshold > 0).all():
            return "a threshold is not above 0"
        if any(readers(program, source) != [layer.name] for source in layer.inputs):
            return "what enters it is read by another layer too, and thresholds fold into its rows"
        if not isinstance(operation_of(program, layer.inputs[0]), Affine | S4D):
            return "thresholds fold into the rows of an affine or an SSM, and none stands before it"
    elif isinstance(operation, LeakyIntegrator):
        if operation.gain is not None or operation.bias is not None or (operation.decay != 1).any():
            return "stock Sigma adds without decay, gain or bias"
        if layer.name != program.output or readers(program, layer.inputs[0]) != [layer.name]:
            return "only the readout accumulates, and what enters it has no other reader"
        if not isinstance(operation_of(program, layer.inputs[0]), Affine | S4D):
            return "the readout stands behind an affine or an SSM"
    elif not isinstance(operation, Affine | Scale | Join | S4D):
        return "no programmable neuron is known for it" if microcode else "no stock process computes it in integers"
    if len(layer.inputs) > 1 and not isinstance(operation, Join):
        return "adds several streams; join them first"
    if len(program.shapes[layer.name]) != 1:
        return f"one step has the shape {program.shapes[layer.name]}, and only vectors are mapped"
    return None


def _neuron(operation: LIF | RefractoryLIF, microcode: bool) -> str | None:
    """What is against the neuron itself, apart from its threshold."""
    if isinstance(operation, RefractoryLIF):
        decays = np.concatenate([operation.decay.ravel(), operation.decay_r.ravel()])
        return None if ((decays >= 0) & (decays <= 1)).all() else "a decay is not in [0, 1]"
    if operation.v_reset is not None or (operation.reset_kind != "hard" and not microcode):
        return "resets to another value than 0" if microcode else "stock LIF resets to 0 alone"
    if operation.gain is not None or operation.bias is not None:
        return "has a gain or a bias of its own; fold it into what enters"
    if microcode:
        return None if ((operation.decay >= 0) & (operation.decay <= 1)).all() else "a decay is not in [0, 1]"
    if np.ptp(operation.decay) or not 0 < operation.decay.flat[0] <= 1:
        return "stock LIF has one decay in (0, 1] for all its neurons"
    return None


def operation_of(program: Program, name: str) -> Operation | None:
    """The operation of a layer; None for the input."""
    return None if name == INPUT else program[name].operation


def readers(program: Program, name: str) -> list[str]:
    """The layers that read ``name``."""
    return [layer.name for layer in program.layers if name in layer.inputs]
