"""A program cut in two: what a Speck can't hold runs on the host, in front; its spikes enter the chip."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from deploy.fitting import speck
from deploy.fitting.chip import Chip
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused, SpikestripError
from spikestrip.execution import Stepper
from spikestrip.operations import MultiSpikeIF
from spikestrip.program import INPUT, Program


@dataclasses.dataclass(frozen=True)
class Split:
    """cut: the layer whose spikes the host sends and the chip receives; host: what leads to it; chip: the rest."""

    cut: str
    host: Program
    chip: Program


def split(program: Program, cut: str) -> Split:
    """``program`` cut behind the layer ``cut``. Raises BadInput where there is no such layer or no such cut."""
    found = next((layer for layer in program.layers if layer.name == cut), None)
    if found is None:
        raise BadInput("--cut", f"{cut!r} is no layer of the program")
    if not (found.operation.spiking or isinstance(found.operation, MultiSpikeIF)):
        raise BadInput("--cut", f"{cut} sends values, and a chip receives spikes: cut behind neurons")
    if cut == program.output:
        raise BadInput("--cut", f"{cut} is the output: nothing is left for the chip")
    behind = _behind(program, cut)
    before = [layer for layer in program.layers if layer.name not in behind]
    for layer in program.layers:
        crossing = {*layer.inputs, *layer.delayed} & ({INPUT, *(each.name for each in before)} - {cut})
        if layer.name in behind and (crossing or cut in layer.delayed):
            raise BadInput(
                "--cut", f"{layer.name} reads {min(crossing, default=cut)} past {cut}: one stream can't be cut"
            )
        if layer.name not in behind and {*layer.inputs, *layer.delayed} & behind:
            raise BadInput("--cut", f"{layer.name}, before {cut}, reads what comes behind it")
    if program.output not in behind:
        raise BadInput("--cut", f"{cut} doesn't lead to the output")
    host = Program(program.input_shape, tuple(before), cut)
    moved = tuple(
        dataclasses.replace(layer, inputs=tuple(INPUT if source == cut else source for source in layer.inputs))
        for layer in program.layers
        if layer.name in behind
    )
    return Split(cut, host, Program(program.shapes[cut], moved, program.output, program.readout))


def longest(program: Program, chip: Chip) -> Split:
    """The cut behind which ``chip`` holds the most layers. Raises Refused where it holds none, with fit's reasons."""
    said = "no layer of neurons stands alone between the two parts"
    for each in _cuts(program):
        answer = speck.fit(each.chip, chip, None)
        if answer.fits:
            return each
        said = f"behind {each.cut}, " + "; ".join(reason.reason for reason in answer.reasons)
    raise Refused("--cut longest", f"no part of the network fits on a {chip.name}: {said}")


def handed_over(program: Program, parts: Split, x: np.ndarray) -> np.ndarray:
    """What the host sends to the chip for x (B, T, *input_shape).

    Raises SpikestripError unless ``program`` sends the same there, and its spikes behind it are the chip's part's.
    """
    sent, stepper, whole = simulate(parts.host, x).output, Stepper(program, len(x)), simulate(program, x)
    behind = simulate(parts.chip, sent)
    differ = {parts.cut: sum(int((sent[:, t] != stepper.step(x[:, t])[parts.cut]).sum()) for t in range(x.shape[1]))}
    for name, train in (behind.spikes | behind.numbers).items():
        differ[name] = int((train != (whole.spikes | whole.numbers)[name]).sum())
    wrong = {name: spikes for name, spikes in differ.items() if spikes}
    if wrong:
        raise SpikestripError(f"cut behind {parts.cut}: the two parts differ from the whole in spikes of {wrong}")
    return sent


def _cuts(program: Program) -> Iterator[Split]:
    for layer in program.layers:
        try:
            yield split(program, layer.name)
        except BadInput:
            continue


def _behind(program: Program, cut: str) -> set[str]:
    """The layers to which ``cut`` leads within a step."""
    behind: set[str] = set()
    for layer in program.layers:
        if (behind | {cut}) & set(layer.inputs):
            behind.add(layer.name)
    return behind
