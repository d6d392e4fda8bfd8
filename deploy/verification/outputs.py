"""Outputs and events: what else a trace states, against what its spikes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.verification.side import Side
from spikestrip import ledger

if TYPE_CHECKING:
    from deploy.verification.contradictions import Judged
    from deploy.verification.differing import Compared
    from spikestrip.program import Program

SOUND = ("equal", "absent", "not compared")


class Stated:
    """What a side states, held part by part against what a replay of its spikes gives.

    events: one of SOUND, or the first counter, stored or observed by the simulator, that the spikes contradict;
    gap, largest, beyond: (*shape of an answer), the largest distance of the stated output from the replay's, the
    largest output of that, and the largest distance after the rounding of the answer itself.
    """

    def __init__(self, side: Side, program: Program) -> None:
        self.side = side
        self._answer = len(program.shapes[program.output])
        self.gap = self.largest = self.beyond = np.zeros(())
        self._lacking = ""
        self._wrong: dict[int, str] = {}  # by the place of the counter: the first in order is told

    def look(self, samples: slice, output: np.ndarray, counted: ledger.Events) -> None:
        """output: (B, ...), counted: layer -> counter -> (B, T), both of these samples."""
        size = np.abs(output)
        gap = np.abs(self.side.trace.output[samples] - output)
        beyond = gap - 2 * (self.side.unit or 0.0) * size
        axes = tuple(range(output.ndim - self._answer))  # samples, and steps where it answers each
        self.gap = np.maximum(self.gap, gap.max(axis=axes))
        self.largest = np.maximum(self.largest, size.max(axis=axes))
        self.beyond = np.maximum(self.beyond, beyond.max(axis=axes))
        trace = self.side.trace
        stated = [
            (kind, layer, counter, values)
            for kind, tables in (("stored", trace.events), ("observed", trace.observed))
            for layer, counters in tables.items()
            for counter, values in counters.items()
        ]
        for place, (kind, layer, counter, values) in enumerate(stated):
            if place not in self._wrong:
                expected = counted.get(layer, {}).get(counter)
                shape = (len(trace.input), trace.input.shape[1])
                if said := _contradicted(f"{kind} {counter} of layer {layer}", values, shape, expected, samples):
                    self._wrong[place] = said
        self._lacking = _lacking(trace.events, counted)

    @property
    def events(self) -> str:
        if not self.side.trace.events:
            return "absent"
        if self.side.undeclared:
            return "not compared"  # they are of the program that isn't at hand; its differences fail anyway
        return self._lacking or (self._wrong[min(self._wrong)] if self._wrong else "equal")


def _lacking(stored: ledger.Events, counted: ledger.Events) -> str:
    for layer, counters in counted.items():
        if layer not in stored:
            return f"layer {layer} has no stored events"
        for counter in counters:
            if counter not in stored[layer]:
                return f"layer {layer} has no stored {counter}"
    return ""


def _contradicted(
    what: str, values: np.ndarray, shape: tuple[int, ...], expected: np.ndarray | None, samples: slice
) -> str:
    if expected is None:
        return f"{what} is no event that the program has"
    if values.shape != shape:
        return f"{what} is {values.shape}, not {shape}"
    stored = values[samples]
    if np.array_equal(stored, expected):
        return ""
    sample, step = np.argwhere(stored != expected)[0]
    return (
        f"{what} is {stored[sample, step]} at sample {samples.start + sample}, step {step}; "
        f"the spikes say {expected[sample, step]}"
    )


def compare_outputs(sides: Sequence[Side]) -> dict[str, Any]:
    """max_abs and argmax_differ between reference and trace, and ``largest``: of the reference."""
    largest = worst = 0.0
    differ = answers = 0
    for samples in sides[1].trace.parts():
        reference, trace = (side.trace.output[samples].astype(np.float64) for side in sides)
        chosen = [np.moveaxis(output, -1, 0).argmax(axis=0) for output in (reference, trace)]
        worst = max(worst, float(np.abs(reference - trace).max()))
        largest = max(largest, float(np.abs(reference).max()))
        differ += int(np.count_nonzero(chosen[0] != chosen[1]))
        answers += int(chosen[0].size)
    return {"max_abs": worst, "argmax_differ": differ, "answers": answers, "fault": None, "largest": largest}


def by_spikes_alone(sides: Sequence[Side], compared: Mapping[str, Compared]) -> dict[str, Any]:
    """Without a program outputs can only be compared with each other, and only where no spike differs."""
    result = compare_outputs(sides)
    tolerance = float(np.sqrt(max(side.unit or 0.0 for side in sides)) * result.pop("largest"))
    if not any(layer.keys.size for layer in compared.values()) and result["max_abs"] > tolerance:
        result["fault"] = f"output: differs by {result['max_abs']:.3g} though no spike does; allowed {tolerance:.3g}"
    return result


def by_program(judged: Sequence[Judged]) -> dict[str, Any]:
    """The same, and a fault if an output is not what its own spikes give."""
    result = compare_outputs([one.side for one in judged])
    del result["largest"]
    for one in judged:
        gap, error = one.stated.gap, _error(one)
        worst = float(gap.max())
        if error is None:
            bound, wrong, why = None, worst > 0, "no rounding bound is known for it"
        elif error is _SPIKES:
            bound, wrong, why = 0.0, worst > 0, "rounding allows 0"
        else:
            bound = float((error + 2 * (one.side.unit or 0.0) * one.stated.largest).max())
            wrong, why = bool((one.stated.beyond > error).any()), f"rounding allows {bound:.3g}"
        result[one.side.role] = {"error": worst, "bound": bound}
        if wrong:
            why = one.side.advice if one.side.undeclared else why
            result["fault"] = f"output: {one.side.role}: is {worst:.3g} from what its own spikes give; {why}"
    return result


_SPIKES = np.zeros(())


def _error(one: Judged) -> np.ndarray | None:
    """(*shape) bound on the rounding that led to the network's answer; None where none is known."""
    program, error = one.program, one.errors[one.program.output]
    if program.output in one.operations:
        return _SPIKES
    if error is None or one.side.unit is None:
        return None
    steps = one.side.trace.input.shape[1]
    factor = {"sequence": 1.0, "mean": 1 / steps, "count": steps}[program.readout]
    return error.reshape(program.shapes[program.output]) * factor
