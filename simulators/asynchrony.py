"""A Speck's integers event by event: the same events in several orders, as a chip without a clock might take them.

Each event adds its weights to the neurons that it reaches, and whatever crosses its threshold sends at once. Between
two steps all is settled (assumed); within a step no order is promised:

    layer-first  every core takes all events of the step, in the order of their neurons, before the next core begins
    time-first   every event that enters is followed to its last consequence before the next one
    random N     any event that waits may be next, drawn with seed N

No order is the chip's. What differs between them is what a step doesn't decide.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from convert.lowering.speck_integers import reason_against
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import FixedIF, MultiSpikeIF
from spikestrip.operations.fixed import HIGHEST, LOWEST
from spikestrip.program import INPUT, Layer, Program

LAYER_FIRST, TIME_FIRST = "layer-first", "time-first"
PIECE = 256  # neurons whose reach is computed at once
Reach = list[tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass
class Core:
    """Neurons, and what reaches them. reach: source -> for each of its neurons (targets, weights)."""

    name: str
    threshold: float
    floor: float
    several: bool
    soft: bool
    reach: dict[str, Reach]


class EventDriven:
    """``program``, of a Speck's integers (``quantize --chip speck2f``), ready to run event by event.

    Raises Refused, naming the layer, for any other.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        for layer in program.layers:
            reason = reason_against(program, layer)
            if reason is not None:
                raise Refused(f"layer {layer.name} ({layer.operation.kind})", f"event by event: {reason}")
        if not _is_neuron(program[program.output]) and INPUT in _sources(program, program[program.output]):
            raise Refused(program.output, "the output isn't what neurons send")
        self.cores = [_core(program, layer) for layer in program.layers if _is_neuron(layer)]
        position = {INPUT: 0, **{core.name: 1 + k for k, core in enumerate(self.cores)}}
        self._position = position
        self._readers = {name: [core for core in self.cores if name in core.reach] for name in position}

    def run(self, x: np.ndarray, order: str = LAYER_FIRST, seed: int = 0) -> dict[str, np.ndarray]:
        """Numbers of events (B, T, *input_shape) -> layer -> how many spikes each neuron sent, (B, T, N) int64.

        ``order``: layer-first, time-first or random. Raises BadInput for another, and for input that isn't events.
        """
        if order not in (LAYER_FIRST, TIME_FIRST, "random"):
            raise BadInput("order", f"is {order!r}, not one of {LAYER_FIRST}, {TIME_FIRST}, random")
        if (x < 0).any() or (x != np.floor(x)).any():
            raise BadInput("input", "holds values that aren't numbers of events")
        sizes = {core.name: math.prod(self.program.shapes[core.name]) for core in self.cores}
        sent = {name: np.zeros((*x.shape[:2], size), np.int64) for name, size in sizes.items()}
        random = np.random.default_rng(seed).random
        for sample, steps in enumerate(x.reshape(*x.shape[:2], -1).astype(np.int64)):
            potentials = {name: np.zeros(size) for name, size in sizes.items()}
            for t, counts in enumerate(steps):
                self._step(counts, potentials, {name: train[sample, t] for name, train in sent.items()}, order, random)
        return sent

    def output(self, sent: dict[str, np.ndarray]) -> np.ndarray:
        """What leaves the program where its neurons sent ``sent``, summed over the steps: (B, *shape)."""

        def stream(name: str) -> np.ndarray:
            if name in sent:
                totals = sent[name].sum(axis=1)
                return totals.reshape(len(totals), *self.program.shapes[name]).astype(np.float64)
            entering = [stream(source) for source in self.program[name].inputs]
            return np.asarray(self.program[name].operation.step(np, {}, sum(entering[1:], start=entering[0]))[1])

        return stream(self.program.output)

    def _step(
        self,
        counts: np.ndarray,
        potentials: dict[str, np.ndarray],
        sent: dict[str, np.ndarray],
        order: str,
        random: Callable[[], float],
    ) -> None:
        waiting: list[tuple[tuple[float, ...], int, Core, str, int]] = []
        arrived = 0  # breaks ties: first come, first served

        def arrive(source: str, neuron: int, cause: int) -> None:
            nonlocal arrived
            for core in self._readers[source]:
                if order == LAYER_FIRST:
                    key: tuple[float, ...] = (self._position[core.name], self._position[source], neuron)
                else:
                    key = (cause,) if order == TIME_FIRST else (random(),)
                heapq.heappush(waiting, (key, arrived, core, source, neuron))
                arrived += 1

        for cause, neuron in enumerate(np.repeat(np.arange(counts.size), counts).tolist()):
            arrive(INPUT, neuron, cause)
        while waiting:
            key, _, core, source, neuron = heapq.heappop(waiting)
            fired, spikes = _take(core, potentials[core.name], *core.reach[source][neuron])
            sent[core.name][fired] += spikes
            for index, times in zip(fired.tolist(), spikes.tolist(), strict=True):
                for _ in range(times):
                    arrive(core.name, index, int(key[0]))


def synchronous(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    """The model by steps, as numpy runs it, for comparison: layer -> numbers of spikes, (B, T, N) int64."""
    stepper = Stepper(program, len(x))
    names = [layer.name for layer in program.layers if _is_neuron(layer)]
    sent: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for t in range(x.shape[1]):
        streams = stepper.step(x[:, t].astype(np.float64))
        for name in names:
            sent[name].append(streams[name].reshape(len(x), -1))
    return {name: np.stack(trains, axis=1).astype(np.int64) for name, trains in sent.items()}


def _take(core: Core, u: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One event reaches ``targets``: change u there; returns who fired, and how many times."""
    potential = np.clip(u[targets] + weights, LOWEST, HIGHEST)
    times = np.maximum(potential // core.threshold, 0)
    if not core.several:
        times = np.minimum(times, 1)
    left = potential - core.threshold * times if core.soft else potential * (times == 0)
    u[targets] = np.maximum(left, core.floor)
    fires = times > 0
    return targets[fires], times[fires].astype(np.int64)


def _is_neuron(layer: Layer) -> bool:
    return isinstance(layer.operation, FixedIF | MultiSpikeIF)


def _core(program: Program, layer: Layer) -> Core:
    operation: Any = layer.operation  # FixedIF or MultiSpikeIF
    reach = {source: _reach(program, layer, source) for source in _sources(program, layer)}
    if isinstance(operation, FixedIF):
        return Core(layer.name, operation.threshold, LOWEST, False, operation.soft, reach)
    if np.ptp(operation.threshold) or np.ptp(operation.floor):
        raise Refused(layer.name, "its neurons differ in their thresholds, and a core has one")
    return Core(layer.name, float(operation.threshold.flat[0]), float(operation.floor.flat[0]), True, True, reach)


def _sources(program: Program, layer: Layer) -> list[str]:
    """The neurons, or the input, whose spikes reach ``layer``."""
    found: list[str] = []
    for name in layer.inputs:
        before = None if name == INPUT else program[name]
        if before is None or _is_neuron(before):
            found.append(name)
        else:
            found += _sources(program, before)
    return list(dict.fromkeys(found))


def _reach(program: Program, layer: Layer, source: str) -> Reach:
    """What one event of each neuron of ``source`` adds to the potentials of ``layer``: all between them is linear."""
    shape = program.shapes[source]
    size = math.prod(shape)
    found: Reach = []
    for start in range(0, size, PIECE):
        units = np.eye(min(PIECE, size - start), size, start).reshape(-1, *shape)
        for row in _through(program, layer, source, units).reshape(len(units), -1):
            targets = np.flatnonzero(row)
            found.append((targets, row[targets]))
    return found


def _through(program: Program, layer: Layer, source: str, units: np.ndarray) -> np.ndarray:
    """What enters ``layer`` where ``source`` alone sends, and that is ``units`` (B, *shape)."""
    total = np.zeros((len(units), *program.entering_shape(layer)))
    for name in layer.inputs:
        if name == source:
            total = total + units
        elif name != INPUT and not _is_neuron(program[name]):
            before = program[name]
            total = total + before.operation.step(np, {}, _through(program, before, source, units))[1]
    return total
