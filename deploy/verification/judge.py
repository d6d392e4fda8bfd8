"""``verify``: judge both sides by the program, and give each difference its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.verification import alignment, pair, surrogates
from deploy.verification.causes import CAUSES, CODE, Side
from deploy.verification.differences import Differences
from deploy.verification.judged import Judged
from deploy.verification.outputs import SOUND, compare_events, compare_outputs
from deploy.verification.replay import Replay
from deploy.verification.rounding import STATEMENT
from deploy.verification.verdict import Verdict, earliest, layer_entry
from spikestrip.program import Program
from spikestrip.trace import Trace

if TYPE_CHECKING:
    from train.networks import Network

ADVICE = "spikes differ, and why can't be judged without the program: give --program model.nir"


def verify(
    reference: Trace,
    trace: Trace,
    program: Program | None = None,
    *,
    reference_program: Program | None = None,
    trace_program: Program | None = None,
    network: Network | None = None,
) -> Verdict:
    """Compare ``trace`` with ``reference`` and give every differing spike exactly one cause.

    With ``program`` each side is replayed on its own spikes, and each of its decisions judged by its own history. The
    verdict is pass when no decision of either side contradicts the program beyond what that side declares, and outputs
    and stored events are what the spikes say; without it, only when no spike differs.
    ``reference_program``, ``trace_program``: what that side really computed, where it is another program (a quantised
    one). The side is judged by it: what contradicts it is a fault; what is right by it, and is not what ``program``
    decides on the same history, is quantisation. ``network``: of a side that sdn computed, or pmbc in a fixed number of
    iterations, the network with its surrogate; it is held to what that form itself decides.
    Raises BadInput when the two are not of the same input and program.
    """
    sides = (Side("reference", reference, reference_program), Side("trace", trace, trace_program))
    pair.check(*sides, program)
    order = [layer.name for layer in program.spiking] if program else list(trace.spikes)
    differ = {name: reference.spikes[name] != trace.spikes[name] for name in order}
    if program is None:
        return _by_spikes_alone(sides, differ)
    equal = not any(wrong.any() for wrong in differ.values())
    if network is not None:
        surrogates.check(network, program, sides)
    judged = [_judge(sides[0], program, differ, network)]
    alike = [(side.saturates_at, side.dtype, side.form, side.own) for side in sides]
    same = equal and alike[0] == alike[1]
    judged.append(_judge(sides[1], program, differ, network, judged[0].replay if same else None))
    whole = None if equal else _whole_trace(judged)
    if whole is None:
        for one in judged:
            one.find_faults()
    for one, side in zip(judged, sides, strict=True):
        if side.own is not None:
            one.against = Judged(side, program, differ)
    failures = [sentence for one in judged for sentence in one.failures]
    if whole is not None:
        codes = {name: np.full(np.count_nonzero(wrong), CODE[whole]) for name, wrong in differ.items()}
    else:
        codes = {name: _causes(judged, name, wrong) for name, wrong in differ.items()}
        failures += _orphans(differ, codes)
    output = compare_outputs(judged)
    events = {one.side.role: compare_events(one.side, one.replay.events) for one in judged}
    failures += [f"events: {role}: {state}" for role, state in events.items() if state not in SOUND]
    failures += [output["fault"]] if output["fault"] else []
    layers = {name: _judged_layer(judged, name, wrong, codes[name]) for name, wrong in differ.items()}
    return Verdict(
        layers=layers,
        first=earliest(layers),
        contradictions={one.side.role: _counts(one.contradictions()) for one in judged},
        output=output,
        events=events,
        rounding=_rounding(judged),
        sides={one.side.role: one.side.describe() for one in judged},
        failures=failures,
        notes=[note for one in judged for note in one.notes] + _float64_notes(judged),
        differences=_differences(trace.spikes, differ, codes),
    )


def _differences(
    fired: Mapping[str, np.ndarray], differ: dict[str, np.ndarray], codes: dict[str, np.ndarray]
) -> dict[str, Differences]:
    return {
        name: Differences(wrong.shape, np.flatnonzero(wrong), codes[name].astype(np.uint8), fired[name][wrong])
        for name, wrong in differ.items()
    }


def _judge(
    side: Side, program: Program, differ: dict[str, np.ndarray], network: Network | None, done: Replay | None = None
) -> Judged:
    """A side by its own program or form, if it has one, and else by the program that both stand for."""
    if side.own is not None:
        return Judged(side.itself(), side.own, differ, done)
    judged = Judged(side, program, differ, done)
    if side.declared is None:
        return judged
    if network is None:
        judged.undeclare()
        return judged
    wrong = surrogates.contradicted(judged, network)
    if any(where.any() for where in wrong.values()):
        judged = Judged(side, program, {name: where | wrong[name] for name, where in differ.items()})
        judged.contradict(wrong)
    return judged


def _by_spikes_alone(sides: tuple[Side, Side], differ: dict[str, np.ndarray]) -> Verdict:
    """Counting, locating, and the two faults that spikes alone can prove."""
    reference, trace = (side.trace.spikes for side in sides)
    cause, failures = "unexplained", []
    if any(wrong.any() for wrong in differ.values()):
        order, delays = alignment.find_order(trace, reference), alignment.find_delays(trace, reference)
        if order is not None and not alignment.distance({n: train[order] for n, train in trace.items()}, reference):
            cause = "samples"
            failures.append(alignment.order_sentence("trace", order))
        elif delays and not alignment.distance(alignment.undo_delays(trace, reference, delays), reference):
            cause = "delay"
            failures.append(alignment.delay_sentence("trace", delays))
        else:
            failures.append(ADVICE)
    output = compare_outputs(sides)
    failures += [output["fault"]] if output["fault"] else []
    codes = {name: np.full(np.count_nonzero(wrong), CODE[cause]) for name, wrong in differ.items()}
    layers = {name: layer_entry(reference[name], trace[name], name, codes[name]) for name in differ}
    return Verdict(
        layers=layers,
        first=earliest(layers),
        contradictions={},
        output=output,
        events={},
        rounding={},
        sides={side.role: side.describe() for side in sides},
        failures=failures,
        notes=["judged by the spikes alone: no program was given"],
        differences=_differences(trace, differ, codes),
    )


def _whole_trace(judged: list[Judged]) -> str | None:
    """ "samples" or "delay", when undoing it on the side that contradicts the program more explains that side."""
    suspect = judged[1] if judged[1].beyond_rounding() >= judged[0].beyond_rounding() else judged[0]
    other = judged[0] if suspect is judged[1] else judged[1]
    if not suspect.beyond_rounding():
        return None
    role, spikes, model = suspect.side.role, suspect.side.trace.spikes, other.side.trace.spikes
    order, delays = alignment.find_order(spikes, model), alignment.find_delays(spikes, model)
    if order is not None and _explains(suspect, {name: train[order] for name, train in spikes.items()}):
        suspect.failures.append(alignment.order_sentence(role, order))
        suspect.rename("samples")
        return "samples"
    if delays is not None and _explains(suspect, alignment.undo_delays(spikes, model, delays)):
        suspect.failures.append(alignment.delay_sentence(role, delays))
        suspect.rename("delay")
        return "delay"
    return None


def _explains(suspect: Judged, spikes: dict[str, np.ndarray]) -> bool:
    """Whether the undone spikes follow the program: wholly, or, on a side that may err, far better than before."""
    trace = suspect.side.trace
    undone = Side(suspect.side.role, Trace(trace.attrs, trace.input, trace.output, spikes))
    nothing = {name: np.zeros(train.shape, bool) for name, train in spikes.items()}
    after = Judged(undone, suspect.program, nothing).beyond_rounding()
    return after == 0 or (suspect.side.declared is not None and after * 2 < suspect.beyond_rounding())


def _causes(judged: list[Judged], name: str, wrong: np.ndarray) -> np.ndarray:
    """The cause of each difference of a layer, in the order of their keys: that of the side that is wrong.

    Where both are, the graver; where neither is, each is right by its own history, and the difference is carried.
    """
    keys = np.flatnonzero(wrong)
    reference, trace = (one.codes_at(name, keys) for one in judged)
    return np.maximum(reference, trace)


def _orphans(differ: dict[str, np.ndarray], codes: dict[str, np.ndarray]) -> list[str]:
    """The first difference of a sample has nothing to be carried from, whatever the replays say: unexplained."""
    clocks = {}
    for number, (name, wrong) in enumerate(differ.items()):
        sample, step, _ = np.nonzero(wrong)
        clocks[name] = (sample, step * len(differ) + number)
    start = np.full(max((len(wrong) for wrong in differ.values()), default=0), np.iinfo(np.int64).max)
    for sample, clock in clocks.values():
        np.minimum.at(start, sample, clock)
    failures = []
    for name, (sample, clock) in clocks.items():
        orphans = (codes[name] == CODE["carried"]) & (clock == start[sample])
        codes[name][orphans] = CODE["unexplained"]
        if orphans.any():
            failures.append(f"unexplained: layer {name}: {np.count_nonzero(orphans)} differences come from nowhere")
    return failures


def _judged_layer(judged: list[Judged], name: str, wrong: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    reference, trace = (one.side.trace.spikes[name] for one in judged)
    entry = layer_entry(reference, trace, name, codes)
    first = entry["first"]
    if first is not None:
        key = np.ravel_multi_index((first["sample"], first["step"], first["neuron"]), wrong.shape)
        for role, one in zip(("reference_potential", "potential"), judged, strict=True):
            decisions = one.decisions[name]
            first[role] = float(decisions.potentials[decisions.at(np.array([key]))[0]])
        at = judged[0].decisions[name].at(np.array([key]))[0]
        first["threshold"] = first["reference_potential"] - float(judged[0].decisions[name].exact[at])
    return entry


def _counts(codes: list[np.ndarray]) -> dict[str, int]:
    """Cause -> contradictions."""
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *codes]), minlength=len(CAUSES))
    return {cause: int(counts[code]) for cause, code in CODE.items() if code and counts[code]}


def _rounding(judged: list[Judged]) -> dict[str, Any]:
    """The bound, stated: for each side and layer the largest of its neurons; and the furthest decision it excused."""
    stated: dict[str, Any] = {"statement": STATEMENT}
    for one in judged:
        excused = [
            np.abs(one.decisions[name].excess[one.decisions[name].contradicts & (code == CODE["rounding"])]).max(
                initial=0.0
            )
            for name, code in one.codes.items()
        ]
        stated[one.side.role] = {
            "unit_roundoff": one.side.unit,
            "bound": {name: float(one.replay.running[name].max()) for name in one.codes},
            "bound_over_threshold": {name: one.bound_share(name) for name in one.codes},
            "furthest_excused": float(max(excused, default=0.0)),
        }
    return stated


def _float64_notes(judged: list[Judged]) -> list[str]:
    """Two float64 runs step by step should agree in every spike: say so where rounding kept them from it."""
    notes = []
    for one in judged:
        close = _counts(list(one.codes.values())).get("rounding", 0)
        if close and one.side.form == "iterative" and one.side.dtype == "float64":
            notes.append(f"{one.side.role}: {close} decisions of a float64 run lie within its rounding bound")
    return notes
