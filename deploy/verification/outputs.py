"""Outputs and events: what else a trace states, against what its spikes say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.verification.causes import Side
from deploy.verification.judged import Judged
from spikestrip import ledger

SOUND = ("equal", "absent", "not compared")


def compare_outputs(pair: Sequence[Judged] | Sequence[Side]) -> dict[str, Any]:
    """max_abs and argmax_differ between reference and trace, and a fault if an output is not what its spikes give.

    Two bare sides (no program) can only be compared with each other, and only where no spike differs.
    """
    sides = [one.side if isinstance(one, Judged) else one for one in pair]
    reference, trace = (side.trace.output.astype(np.float64) for side in sides)
    chosen = [np.moveaxis(output, -1, 0).argmax(axis=0) for output in (reference, trace)]
    result: dict[str, Any] = {
        "max_abs": float(np.abs(reference - trace).max()),
        "argmax_differ": int(np.count_nonzero(chosen[0] != chosen[1])),
        "answers": int(chosen[0].size),
        "fault": None,
    }
    judged = [one for one in pair if isinstance(one, Judged)]
    if not judged:
        spikes = [side.trace.spikes for side in sides]
        tolerance = float(np.sqrt(max(side.unit or 0.0 for side in sides)) * np.abs(reference).max())
        if (
            all(np.array_equal(spikes[0][name], spikes[1][name]) for name in spikes[0])
            and result["max_abs"] > tolerance
        ):
            result["fault"] = (
                f"output: differs by {result['max_abs']:.3g} though no spike does; allowed {tolerance:.3g}"
            )
        return result
    for one in judged:
        gap, allowed = np.abs(one.side.trace.output - one.replay.output), _allowed(one)
        result[one.side.role] = {"error": float(gap.max()), "bound": None if allowed is None else float(allowed.max())}
        if (gap > (0.0 if allowed is None else allowed)).any():
            why = "no rounding bound is known for it" if allowed is None else f"rounding allows {allowed.max():.3g}"
            if one.side.undeclared:
                why = one.side.advice
            result["fault"] = f"output: {one.side.role}: is {gap.max():.3g} from what its own spikes give; {why}"
    return result


def _allowed(one: Judged) -> np.ndarray | None:
    """Bound on the rounding of the network's answer."""
    program, error, unit = one.program, one.errors[one.program.output], one.side.unit
    if program.output in one.operations:
        return np.zeros(program.shapes[program.output])  # spikes
    if error is None or unit is None:
        return None
    divided = one.side.trace.input.shape[1] if program.readout == "mean" else 1
    return np.asarray(error.reshape(program.shapes[program.output]) / divided + 2 * unit * np.abs(one.replay.output))


def compare_events(side: Side, counted: ledger.Events) -> str:
    """One of SOUND, or the first counter, stored or observed by the simulator, that the spikes contradict."""
    trace = side.trace
    if not trace.events:
        return "absent"
    if side.undeclared:
        return "not compared"  # they are of the program that isn't at hand; its differences fail anyway
    for layer, counters in counted.items():
        if layer not in trace.events:
            return f"layer {layer} has no stored events"
        for counter in counters:
            if counter not in trace.events[layer]:
                return f"layer {layer} has no stored {counter}"
    for kind, tables in (("stored", trace.events), ("observed", trace.observed)):
        for layer, counters in tables.items():
            for counter, stored in counters.items():
                expected = counted.get(layer, {}).get(counter)
                if expected is None:
                    return f"{kind} {counter} of layer {layer} is no event that the program has"
                if stored.shape != expected.shape:
                    return f"{kind} {counter} of layer {layer} is {stored.shape}, not {expected.shape}"
                if not np.array_equal(stored, expected):
                    sample, step = np.argwhere(stored != expected)[0]
                    return (
                        f"{kind} {counter} of layer {layer} is {stored[sample, step]} at sample {sample}, step {step}; "
                        f"the spikes say {expected[sample, step]}"
                    )
    return "equal"
