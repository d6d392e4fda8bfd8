"""Whether two traces can be compared at all."""

from __future__ import annotations

import numpy as np

from deploy.verification.side import Side
from spikestrip import inputs
from spikestrip.errors import BadInput
from spikestrip.program import Program
from spikestrip.trace import input_sha256


def check(reference: Side, trace: Side, program: Program | None) -> None:
    """Raise BadInput unless both traces are of the same input and program, and of the same layers and shapes."""
    for side in (reference, trace):
        _check_side(side, program)
    mine, other = trace.trace, reference.trace
    if input_sha256(mine.input) != input_sha256(other.input):
        raise BadInput("trace", "was recorded from another input than the reference (input_sha256 differs)")
    for side in (reference, trace):
        if side.own is not None:
            _check_own(side, program)
    stands_for = [side.program_sha256 for side in (reference, trace) if side.own is None or side.quantised_from]
    if len(set(stands_for)) > 1:
        raise BadInput("trace", f"ran another program ({stands_for[1][:12]}) than the reference ({stands_for[0][:12]})")
    for name in mine.numbers.keys() & other.numbers.keys():
        if mine.numbers[name].shape != other.numbers[name].shape:
            raise BadInput("trace", f"numbers of {name} are {mine.numbers[name].shape}, not those of the reference")
    if set(mine.spikes) != set(other.spikes):
        odd = sorted(set(mine.spikes) ^ set(other.spikes))
        raise BadInput("trace", f"has other spiking layers than the reference: {', '.join(odd)} only on one side")
    for name, train in mine.spikes.items():
        if train.shape != other.spikes[name].shape:
            raise BadInput("trace", f"layer {name} is {train.shape}, in the reference {other.spikes[name].shape}")
    if mine.output.shape != other.output.shape:
        raise BadInput("trace", f"output is {mine.output.shape}, in the reference {other.output.shape}")
    if program is not None:
        for side in (reference, trace):
            if side.own is None or side.quantised_from:
                _check_program(side, program)


def _check_own(side: Side, program: Program | None) -> None:
    """A side's own program must be the one that it says it ran, and shaped as the one that it stands for."""
    own, option = side.own, f"--{side.role}-program"
    if program is None:
        raise BadInput(option, "needs --program too: the program that both sides stand for")
    ran = str(side.trace.attrs.get("computed_sha256") or side.trace.attrs.get("program_sha256", ""))
    if own is None or own.sha256 != ran:
        raise BadInput(option, f"is not the program that the {side.role} says it ran ({ran[:12]})")
    layers = [{layer.name: one.shapes[layer.name] for layer in (*one.spiking, *one.counting)} for one in (own, program)]
    shapes = [(one.input_shape, one.shapes[one.output], one.readout) for one in (own, program)]
    if layers[0] != layers[1] or shapes[0] != shapes[1]:
        raise BadInput(option, "has other spiking layers, input or output than the program that it stands for")


def _check_side(side: Side, program: Program | None) -> None:
    x = side.trace.input
    if x.ndim < 3 or x.shape[0] < 1 or x.shape[1] < 1:
        raise BadInput(side.role, f"input has shape {x.shape}, not (B, T, C) of at least one sample and step")
    for name, spikes in side.trains.items():
        if spikes.ndim != 3 or spikes.shape[:2] != x.shape[:2]:
            raise BadInput(side.role, f"layer {name}: spikes are {spikes.shape}, not ({x.shape[0]}, {x.shape[1]}, N)")
    for samples in side.trace.parts():
        part = side.trace[samples]
        for name, spikes in part.spikes.items():
            if spikes.size and spikes.max() > 1:
                raise BadInput(side.role, f"layer {name}: spikes are not 0 or 1")
        for name, sent in part.numbers.items():
            if sent.size and sent.min() < 0:
                raise BadInput(side.role, f"numbers of spikes of {name} are below 0")
        if not np.isfinite(part.output).all():
            raise BadInput(side.role, "output holds NaN or infinity")
        if program is not None:
            inputs.check(part.input, program.input_shape, f"{side.role}, input")


def _check_program(side: Side, program: Program) -> None:
    if program.sha256 != side.program_sha256:
        raise BadInput(
            "program", f"is another one ({program.sha256[:12]}) than the traces ran ({side.program_sha256[:12]})"
        )
    for layer in program.spiking:
        size = int(np.prod(program.shapes[layer.name]))
        train = side.trace.spikes.get(layer.name)
        if train is None or train.shape[2] != size:
            raise BadInput("program", f"layer {layer.name} has {size} neurons; the traces don't have them")
    counting = {layer.name: int(np.prod(program.shapes[layer.name])) for layer in program.counting}
    for name, sent in side.trace.numbers.items():
        if counting.get(name) != sent.shape[2]:
            raise BadInput("program", f"has no {sent.shape[2]} neurons {name} that send several spikes in a step")
    if len(program.spiking) != len(side.trace.spikes):
        raise BadInput("program", "lacks spiking layers that the traces have")
    steps = side.trace.input.shape[:2]
    shape = program.shapes[program.output]
    expected = (*steps, *shape) if program.readout == "sequence" else (steps[0], *shape)
    if side.trace.output.shape != expected:
        raise BadInput("program", f"gives an output of shape {expected}; the traces hold {side.trace.output.shape}")
