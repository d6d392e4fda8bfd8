"""``verify``: judge both sides by the program, and give each difference its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.verification import alignment, comparable, surrogates
from deploy.verification.bounds import STATEMENT
from deploy.verification.causes import CAUSES, CODE
from deploy.verification.contradictions import Judged
from deploy.verification.differences import Differences
from deploy.verification.differing import Compared, compare
from deploy.verification.outputs import SOUND, by_program, by_spikes_alone
from deploy.verification.side import Side
from deploy.verification.verdict import Verdict, earliest, layer_entry
from simulators.shards import Over
from spikestrip.program import Program
from spikestrip.trace import Trace

if TYPE_CHECKING:
    from train.building import AnyNetwork

ADVICE = "spikes differ, and why can't be judged without the program: give --program model.nir"


def verify(
    reference: Trace,
    trace: Trace,
    program: Program | None = None,
    *,
    reference_program: Program | None = None,
    trace_program: Program | None = None,
    network: AnyNetwork | None = None,
    over: Over = map,
) -> Verdict:
    """Compare ``trace`` with ``reference`` and give every differing spike exactly one cause.

    With ``program`` each side is replayed on its own spikes, and each of its decisions judged by its own history. The
    verdict is pass when no decision of either side contradicts the program beyond what that side declares, and outputs
    and stored events are what the spikes say; without it, only when no spike differs.
    ``reference_program``, ``trace_program``: what that side really computed, where it is another program (a quantised
    one). The side is judged by it: what contradicts it is a fault; what is right by it, and is not what ``program``
    decides on the same history, is quantisation. ``network``: of a side that sdn computed, or pmbc in a fixed number of
    iterations, the network with its surrogate; it is held to what that form itself decides. ``over``: the processes
    that the replays are spread over (``simulators.shards``), sample by sample.
    Raises BadInput when the two are not of the same input and program.
    """
    sides = (Side("reference", reference, reference_program), Side("trace", trace, trace_program))
    comparable.check(*sides, program)
    both = sides[0].trains.keys() & sides[1].trains.keys()
    order = [layer.name for layer in program.layers if layer.name in both] if program else list(sides[1].trains)
    compared = compare(sides[0].trains, sides[1].trains, trace.parts(), [name for name in order if name in both])
    differ = {name: layer.keys for name, layer in compared.items()}
    if program is None:
        return _by_spikes_alone(sides, compared)
    equal = not any(keys.size for keys in differ.values())
    if network is not None:
        surrogates.check(network, program, sides)
    alike = [(side.saturates_at, side.dtype, side.form, side.own) for side in sides]
    same = equal and alike[0] == alike[1] and sides[0].trains.keys() == sides[1].trains.keys()
    judged = [_judge(sides[0], program, differ, network, over, twin=sides[1] if same else None)]
    judged.append(_judge(sides[1], program, differ, network, over, done=judged[0] if same else None))
    whole = None if equal else _whole_trace(judged, compared)
    if whole is None:
        for one in judged:
            one.find_faults()
    for one, side in zip(judged, sides, strict=True):
        if side.own is not None:
            one.against = Judged(side, program, differ, over=over)
    failures = [sentence for one in judged for sentence in one.failures]
    if whole is not None:
        codes = {name: np.full(keys.size, CODE[whole]) for name, keys in differ.items()}
    else:
        codes = {name: _causes(judged, name, keys) for name, keys in differ.items()}
        failures += _orphans(compared, codes)
    output = by_program(judged)
    events = {one.side.role: one.stated.events for one in judged}
    failures += [f"events: {role}: {state}" for role, state in events.items() if state not in SOUND]
    failures += [output["fault"]] if output["fault"] else []
    layers = {name: _judged_layer(judged, name, layer, codes[name]) for name, layer in compared.items()}
    return Verdict(
        layers=layers,
        first=earliest(layers),
        contradictions={one.side.role: _counts(one.contradictions()) for one in judged},
        output=output,
        events=events,
        rounding=_rounding(judged),
        sides={one.side.role: one.side.describe() for one in judged},
        failures=failures,
        notes=[note for one in judged for note in one.notes] + _float64_notes(judged) + _unseen(program, compared),
        differences=_differences(compared, codes),
    )


def _differences(compared: dict[str, Compared], codes: dict[str, np.ndarray]) -> dict[str, Differences]:
    return {
        name: Differences(
            layer.shape,
            layer.keys,
            codes[name].astype(np.uint8),
            layer.fired,
            layer.others if layer.fired.dtype != np.uint8 else None,
        )
        for name, layer in compared.items()
    }


def _judge(
    side: Side,
    program: Program,
    differ: dict[str, np.ndarray],
    network: AnyNetwork | None,
    over: Over,
    twin: Side | None = None,
    done: Judged | None = None,
) -> Judged:
    """A side by its own program or form, if it has one, and else by the program that both stand for."""
    if side.own is not None:
        return Judged(side.itself(), side.own, differ, twin and twin.itself(), done, over)
    judged = Judged(side, program, differ, twin, done, over)
    if side.declared is None:
        return judged
    if network is None:
        judged.undeclare()
        return judged
    wrong = surrogates.contradicted(judged, network)
    if any(keys.size for keys in wrong.values()):
        asked = {name: np.union1d(keys, wrong[name]) for name, keys in differ.items()}
        judged = Judged(side, program, asked, twin, over=over)
        judged.contradict(wrong)
    return judged


def _by_spikes_alone(sides: tuple[Side, Side], compared: dict[str, Compared]) -> Verdict:
    """Counting, locating, and the two faults that spikes alone can prove."""
    reference, trace = ({name: side.trains[name] for name in compared} for side in sides)
    cause, failures = "unexplained", []
    if any(layer.keys.size for layer in compared.values()):
        order = alignment.find_order(trace, reference, compared)
        delays = alignment.find_delays(trace, reference, compared)
        if order is not None and not alignment.distance(alignment.undo_order(trace, order), reference):
            cause = "samples"
            failures.append(alignment.order_sentence("trace", order))
        elif delays and not alignment.distance(alignment.undo_delays(trace, reference, delays), reference):
            cause = "delay"
            failures.append(alignment.delay_sentence("trace", delays))
        else:
            failures.append(ADVICE)
    output = by_spikes_alone(sides, compared)
    failures += [output["fault"]] if output["fault"] else []
    codes = {name: np.full(layer.keys.size, CODE[cause]) for name, layer in compared.items()}
    layers = {name: layer_entry(name, layer, codes[name]) for name, layer in compared.items()}
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
        differences=_differences(compared, codes),
    )


def _whole_trace(judged: list[Judged], compared: dict[str, Compared]) -> str | None:
    """ "samples" or "delay", when undoing it on the side that contradicts the program more explains that side."""
    suspect = judged[1] if judged[1].beyond_rounding() >= judged[0].beyond_rounding() else judged[0]
    other = judged[0] if suspect is judged[1] else judged[1]
    if not suspect.beyond_rounding():
        return None
    role, spikes, model = (
        suspect.side.role,
        *({name: one.side.trains[name] for name in compared} for one in (suspect, other)),
    )
    order = alignment.find_order(spikes, model, compared)
    if order is not None and _explains(suspect, alignment.undo_order(spikes, order)):
        suspect.failures.append(alignment.order_sentence(role, order))
        suspect.rename("samples")
        return "samples"
    delays = alignment.find_delays(spikes, model, compared)
    if delays is not None and _explains(suspect, alignment.undo_delays(spikes, model, delays)):
        suspect.failures.append(alignment.delay_sentence(role, delays))
        suspect.rename("delay")
        return "delay"
    return None


def _explains(suspect: Judged, spikes: alignment.Spikes) -> bool:
    """Whether the undone spikes follow the program: wholly, or, on a side that may err, far better than before."""
    trace = suspect.side.trace
    numbers = {name: spikes.get(name, sent) for name, sent in trace.numbers.items()}
    fired = {name: spikes[name] for name in trace.spikes}
    undone = Side(suspect.side.role, Trace(trace.attrs, trace.input, trace.output, fired, numbers=numbers))
    nothing = {name: np.empty(0, np.int64) for name in spikes}
    after = Judged(undone, suspect.program, nothing).beyond_rounding()
    return after == 0 or (suspect.side.declared is not None and after * 2 < suspect.beyond_rounding())


def _causes(judged: list[Judged], name: str, keys: np.ndarray) -> np.ndarray:
    """The cause of each difference of a layer, in the order of their keys: that of the side that is wrong.

    Where both are, the graver; where neither is, each is right by its own history, and the difference is carried.
    """
    reference, trace = (one.codes_at(name, keys) for one in judged)
    return np.maximum(reference, trace)


def _orphans(compared: dict[str, Compared], codes: dict[str, np.ndarray]) -> list[str]:
    """The first difference of a sample has nothing to be carried from, whatever the replays say: unexplained."""
    clocks = {}
    for number, (name, layer) in enumerate(compared.items()):
        sample, step, _ = layer.places
        clocks[name] = (sample, step * len(compared) + number)
    start = np.full(max((layer.shape[0] for layer in compared.values()), default=0), np.iinfo(np.int64).max)
    for sample, clock in clocks.values():
        np.minimum.at(start, sample, clock)
    failures = []
    for name, (sample, clock) in clocks.items():
        orphans = (codes[name] == CODE["carried"]) & (clock == start[sample])
        codes[name][orphans] = CODE["unexplained"]
        if orphans.any():
            failures.append(f"unexplained: layer {name}: {np.count_nonzero(orphans)} differences come from nowhere")
    return failures


def _judged_layer(judged: list[Judged], name: str, compared: Compared, codes: np.ndarray) -> dict[str, Any]:
    entry = layer_entry(name, compared, codes)
    first = entry["first"]
    if first is not None:
        key = np.ravel_multi_index((first["sample"], first["step"], first["neuron"]), compared.shape)
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


def _unseen(program: Program, compared: dict[str, Compared]) -> list[str]:
    names = [layer.name for layer in program.counting if layer.name not in compared]
    return [f"layer {name}: a side doesn't say how many spikes it sent, so that they aren't compared" for name in names]


def _float64_notes(judged: list[Judged]) -> list[str]:
    """Two float64 runs step by step should agree in every spike: say so where rounding kept them from it."""
    notes = []
    for one in judged:
        close = _counts(list(one.codes.values())).get("rounding", 0)
        if close and one.side.form == "iterative" and one.side.dtype == "float64":
            notes.append(f"{one.side.role}: {close} decisions of a float64 run lie within its rounding bound")
    return notes
