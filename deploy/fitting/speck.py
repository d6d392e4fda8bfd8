"""Does it fit on a Speck: a core for each stage, assigned by a matching of stages and cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np

from deploy.fitting.answer import Answer, Core, Reason
from deploy.fitting.chip import Chip
from deploy.fitting.measured import Measured
from deploy.fitting.stages import NEURONS, Stage, stages
from spikestrip.operations import AvgPool2d
from spikestrip.program import INPUT, Program

ASSUMPTIONS = (
    "weights, thresholds and floors as they would be in 8 and 16 bits by one scale for each core; what that costs in "
    "spikes isn't said here",
    "spikes are those of steps; the chip handles each event when it comes, in an order that isn't the program's",
)


def fit(program: Program, chip: Chip, measured: Measured | None) -> Answer:
    """Assign a core of ``chip`` to each stage of ``program``."""
    found, reasons = stages(program)
    reasons += _beyond(found, chip) + _input(program, measured)
    assigned: dict[str, int] = {}
    if not reasons:
        assigned = _matched(found, chip)
        reasons = _unmatched(found, chip, assigned)
    answer = Answer(
        chip,
        program.sha256,
        None if reasons else len(found),
        reasons,
        [] if reasons else _cores(program, found, chip, assigned, measured),
        at_least={} if reasons else {"stages": len(found)},
        unknown=chip.unknown(),
        assumptions=list(ASSUMPTIONS),
        measured=None if measured is None else measured.summary(),
    )
    if not reasons:
        answer.notes += _notes(program, found, chip)
    if measured is None:
        answer.unknown += ["rates of events: no run was given", "whether the input is events: no run was given"]
    return answer


def _beyond(found: Sequence[Stage], chip: Chip) -> list[Reason]:
    """Every limit of a core's configuration that a stage is beyond, and of the chip's wiring."""
    reasons = []

    def check(cause: str, said: Callable[[Stage], str | None], remedy: str) -> None:
        beyond = {stage.name: said(stage) for stage in found}
        named = {name: what for name, what in beyond.items() if what is not None}
        if named:
            text = "; ".join(f"{name} {what}" for name, what in named.items())
            reasons.append(Reason(cause, tuple(named), text, remedy))

    most, kernel, channels = chip.number("map_size"), chip.number("kernel_size"), chip.number("channels")
    strides, pools, padding = chip.numbers("strides"), chip.numbers("pooling"), chip.number("padding")
    entering = chip.number("input_size")

    def sizes(stage: Stage) -> str | None:
        if max(stage.entering[1:]) > entering:
            return f"reads maps of {stage.entering[1:]}, and {entering} x {entering} is the most"
        if max(stage.leaving[1:]) > most:
            return f"sends maps of {stage.leaving[1:]}, and {most} x {most} is the most"
        return None

    def kernels(stage: Stage) -> str | None:
        if stage.kernel[0] != stage.kernel[1] or stage.kernel[0] > kernel:
            return f"has a kernel of {stage.kernel}, and only square ones up to {kernel} are held"
        return None

    def strided(stage: Stage) -> str | None:
        return None if set(stage.stride) <= set(strides) else f"has stride {stage.stride}, not of {strides}"

    def padded(stage: Stage) -> str | None:
        top, bottom, left, right = stage.padding
        fine = top == bottom <= padding and left == right <= padding
        return None if fine else f"has padding {stage.padding}, not even on both sides and up to {padding}"

    def pooled(stage: Stage) -> str | None:
        wrong = sorted({pool for _, pool in stage.sources} - set(pools))
        return f"reads what is pooled by {wrong[0]}, not by one of {pools}" if wrong else None

    def wide(stage: Stage) -> str | None:
        largest = max(stage.entering[0], stage.leaving[0])
        return f"has {largest} channels, and {channels} is the most" if largest > channels else None

    check("size", sizes, "pool or stride earlier")
    check("kernel", kernels, "use smaller, square kernels")
    check("stride", strided, "use a stride that the chip has")
    check("padding", padded, "pad evenly")
    check("pooling", pooled, "pool by another size")
    check("channels", wide, "use fewer channels")
    reads: dict[str, list[str]] = {}
    for stage in found:
        for source, _ in stage.sources:
            reads.setdefault(source, []).append(stage.name)
    fan_out = chip.number("fan_out")
    many = {source: readers for source, readers in reads.items() if len(readers) > fan_out and source != INPUT}
    if many:
        text = "; ".join(
            f"{source} sends to {len(readers)} cores ({', '.join(readers)})" for source, readers in many.items()
        )
        reasons.append(Reason("fan_out", tuple(many), f"{text}, and {fan_out} is the most", "branch later"))
    return reasons


def _input(program: Program, measured: Measured | None) -> list[Reason]:
    if measured is None:
        return []
    x = measured.run.input
    if (x >= 0).all() and (x == np.floor(x)).all():
        return []
    text = "the input holds values that aren't numbers of events"
    return [Reason("input", (INPUT,), text, "turn it into events, or run the first layers on the host")]


def _matched(found: Sequence[Stage], chip: Chip) -> dict[str, int]:
    """Stage -> core, as many stages as can have one (a maximum matching: Hopcroft and Karp)."""
    graph = nx.Graph()
    graph.add_nodes_from(stage.name for stage in found)
    graph.add_edges_from((stage.name, core) for stage in found for core in _possible(stage, chip))
    matching = nx.bipartite.hopcroft_karp_matching(graph, [stage.name for stage in found])
    return {stage.name: matching[stage.name] for stage in found if stage.name in matching}


def _possible(stage: Stage, chip: Chip, channels: int | None = None) -> list[int]:
    """The cores whose memory holds a stage (with another number of output channels, if given)."""
    pairs = zip(chip.numbers("kernel_memory"), chip.numbers("neuron_memory"), strict=True)
    kernel, neurons = stage.kernel_memory(channels), stage.neuron_memory(channels)
    return [core for core, (weights, states) in enumerate(pairs) if kernel <= weights and neurons <= states]


def _unmatched(found: Sequence[Stage], chip: Chip, assigned: dict[str, int]) -> list[Reason]:
    possible = {stage.name: _possible(stage, chip) for stage in found}
    reasons = []
    for stage in found:
        if not possible[stage.name]:
            text = (
                f"{stage.name} needs a kernel memory of {stage.kernel_memory():,} and a neuron memory of "
                f"{stage.neuron_memory():,}, and no core has both"
            )
            reasons.append(Reason("memory", (stage.name,), text, "use fewer channels, smaller maps or kernels"))
    waiting = [name for name in possible if possible[name] and name not in assigned]
    if waiting:
        holder = {core: name for name, core in assigned.items()}
        crowd, cores = [waiting[0]], set(possible[waiting[0]])
        for name in crowd:  # grows while it is walked: whoever holds a core that one of them could have
            cores |= set(possible[name])
            crowd += [holder[core] for core in possible[name] if holder[core] not in crowd]
        listed = ", ".join(map(str, sorted(cores)))
        text = f"{len(crowd)} stages ({', '.join(sorted(crowd))}) can lie on {len(cores)} cores alone ({listed})"
        reasons.append(Reason("cores", tuple(sorted(crowd)), text, "use fewer layers, or make one of them smaller"))
    return reasons


def _cores(
    program: Program, found: Sequence[Stage], chip: Chip, assigned: dict[str, int], measured: Measured | None
) -> list[Core]:
    cores = []
    for stage in sorted(found, key=lambda stage: assigned[stage.name]):
        index = assigned[stage.name]
        used: dict[str, tuple[float, float | None]] = {
            "kernel_memory": (stage.kernel_memory(), chip.numbers("kernel_memory")[index]),
            "neuron_memory": (stage.neuron_memory(), chip.numbers("neuron_memory")[index]),
        }
        load = {} if measured is None else _load(stage, measured)
        cores.append(Core(index, {stage.name: (0, int(np.prod(program.shapes[stage.name])))}, used, load))
    return cores


def _load(stage: Stage, measured: Measured) -> dict[str, dict[str, float]]:
    """Synaptic operations, and spikes that are sent (where the run recorded them), of a step."""
    counted = {"synaptic_operations": measured.operations(stage.weights)}
    spikes = measured.spikes(stage.name)
    if spikes is not None:
        counted["spikes_out"] = spikes.sum(axis=1)
    return {name: {"mean": float(values.mean()), "max": float(values.max())} for name, values in counted.items()}


def _after(program: Program, stream: str) -> list[str]:
    """The layers between the last neurons and the output, which no core does."""
    if stream == INPUT or isinstance(program[stream].operation, NEURONS):
        return []
    before = [name for source in program[stream].inputs for name in _after(program, source)]
    return before if program[stream].operation.kind == "flatten" else [*before, stream]


def _notes(program: Program, found: Sequence[Stage], chip: Chip) -> list[str]:
    read = {source for stage in found for source, _ in stage.sources}
    host = _after(program, program.output)
    notes = [f"{name}: is left to the host: events that leave the chip are neither pooled nor added" for name in host]
    for layer in program.layers:
        if isinstance(layer.operation, AvgPool2d) and layer.name not in host:
            notes.append(f"{layer.name}: a core sums; the division goes into the next weights")
    for stage in found:
        neuron: Any = program[stage.name].operation
        threshold = np.unique(neuron.threshold)
        if threshold.size > 1:
            notes.append(f"{stage.name}: a core has one threshold; those of its channels go into its weights")
        if stage.name not in read:
            classes = stage.leaving[0]
            channels = 4 * (classes - 1) + 1
            held = "a core can hold" if _possible(stage, chip, channels) else "no core can hold"
            notes.append(
                f"{stage.name}: the readout layer takes channel 4k for class k + 1 (an erratum): its {classes} classes "
                f"need {channels} channels, which {held}"
                + (f"; it has {chip.number('classes')} classes" if classes > chip.number("classes") else "")
            )
        if neuron.kind in ("lif", "fixed_if"):
            notes.append(
                f"{stage.name}: a neuron on the chip can send several spikes for one event; the program's sends one"
            )
    return notes
