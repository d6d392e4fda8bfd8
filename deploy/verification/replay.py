"""A program replayed on a trace's own spikes: what each neuron should have decided, given that trace's own history."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterable, Mapping
from types import ModuleType
from typing import Self

import numpy as np

from deploy.verification.bounds import Arithmetic, Running
from spikestrip import inputs, ledger
from spikestrip.execution import Stepper
from spikestrip.operations import (
    GLU,
    S4D,
    Affine,
    Array,
    Conv1d,
    Conv2d,
    FixedIF,
    LayerNorm,
    MultiSpikeIF,
    Operation,
    Shape,
    SpikingOperation,
    State,
    SumPool2d,
)  # fmt: skip
from spikestrip.operations.fixed import LOWEST
from spikestrip.program import Program, at_sample

Spikes = Mapping[str, np.ndarray]
Deciding = SpikingOperation | MultiSpikeIF
Seen = Callable[[str, int, int, np.ndarray, np.ndarray | None, np.ndarray], object]
ROWS = 8  # samples stepped together: what a step touches stays in a core's cache
FADING = 0.95  # a step: what a neuron's arithmetics differed by twenty steps ago counts for a third


def deciding(program: Program, recorded: Container[str]) -> dict[str, Deciding]:
    """The layers whose decisions a record holds: all that spike, and those whose numbers of spikes it has."""
    return {
        layer.name: layer.operation
        for layer in program.layers
        if isinstance(layer.operation, SpikingOperation)
        or (isinstance(layer.operation, MultiSpikeIF) and layer.name in recorded)
    }


def decided(operation: Deciding, state: State, potential: Array) -> Array:
    """What u' sends: booleans, or numbers of spikes."""
    if isinstance(operation, MultiSpikeIF):
        return operation.numbers(np, potential)
    return operation.fire(state, potential)


def excess(operation: Deciding, state: State, potential: Array, sent: Array) -> Array:
    """The signed distance of u' to the edge that decides against ``sent``: >= 0 where (more) spikes are due."""
    if isinstance(operation, MultiSpikeIF):
        return operation.excess(potential, sent)
    return operation.excess(np, state, potential)


@dataclasses.dataclass
class Decisions:
    """The decisions of one layer that contradict the program, and those that were asked for, sorted by ``keys``.

    A decision is a spike or none, or how many. keys: position in the flattened (B, T, N) spikes; potentials: u' there;
    wrong: it contradicts the program; saturated: |u'| had passed the limit of a saturating machine, or been held at an
    end of 16 bits, by then; excess: signed distance to deciding otherwise, in the side's own arithmetic; contradicts:
    it is wrong there too; bound: on the rounding of u' (0 where none is known);
    exact: the signed distance in float64; recent: the largest difference between two arithmetics that
    this neuron had lately, older ones fading.
    """

    keys: np.ndarray
    potentials: np.ndarray
    wrong: np.ndarray
    saturated: np.ndarray
    excess: np.ndarray
    contradicts: np.ndarray
    bound: np.ndarray
    exact: np.ndarray
    recent: np.ndarray

    def at(self, keys: np.ndarray) -> np.ndarray:
        """Indices of ``keys``, each of which must be there."""
        return np.searchsorted(self.keys, keys)


@dataclasses.dataclass
class Replay:
    """What a replay found.

    bounds: layer -> (N,) the largest bound on |u' - that of the float64 replay|, None where none is known; running: the
    largest that a decision had in the side's own arithmetic; measured: the largest difference between two arithmetics
    on this history (None where one only was tried); largest: |u'|; ties: decisions exactly at the threshold; received:
    (N,) the largest bound on the error of what entered a neuron (infinite where none is known); level: (N,) the highest
    |u' - excess|, what a neuron must reach to fire.
    """

    decisions: dict[str, Decisions]
    bounds: dict[str, np.ndarray | None]
    running: dict[str, np.ndarray]
    measured: dict[str, float] | None
    largest: dict[str, float]
    ties: dict[str, int]
    received: dict[str, np.ndarray]
    level: dict[str, np.ndarray]


def replay(
    program: Program,
    x: np.ndarray,
    spikes: Spikes,
    asked: Mapping[str, np.ndarray],
    limit: float | None = None,
    arithmetic: Arithmetic | None = None,
    look: Callable[[slice, np.ndarray, ledger.Events], None] = lambda samples, output, events: None,
    seen: Seen | None = None,
) -> Replay:
    """Replay ``program`` in float64, clamped to ``spikes``, and look at every decision.

    Beside it runs, if ``arithmetic`` is float32 and step by step, the side's own; and a second one of the same
    precision, to measure what rounding really does: sums of products rounded once, or all of it step by step.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N), numbers of spikes included; asked: layer -> (n,)
    rising positions in the flattened spikes of decisions to keep although they may be right; limit: |u'| at which the
    trace's machine saturates; look: is shown the output (as ``Program.finish`` gives it) and the events (as
    ``ledger.count``) of ROWS samples after ROWS samples. Needs memory for these, and for the decisions that are kept.
    seen(layer, first sample, step, excess, bound or None, contradicts): called with every decision, (rows, N) each, in
    the side's own arithmetic.
    """
    batch, steps = x.shape[:2]
    named = deciding(program, spikes)
    found: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in named}
    single = arithmetic is not None and arithmetic.dtype == "float32"
    own = single and arithmetic is not None and not arithmetic.parallel
    size_of = {name: math.prod(program.shapes[name]) for name in named}
    nothing = np.empty(0, np.int64)
    bounds, running = ({name: np.zeros(n) for name, n in size_of.items()} for _ in range(2))
    measured, largest = (dict.fromkeys(size_of, 0.0) for _ in range(2))
    ties = dict.fromkeys(size_of, 0)
    received, level = ({name: np.zeros(n) for name, n in size_of.items()} for _ in range(2))
    last = program.output
    if last not in size_of:
        bounds[last] = np.zeros(math.prod(program.shapes[last]))
    unknown: set[str] = set()
    for start in range(0, batch, ROWS):
        rows = slice(start, min(start + ROWS, batch))
        size = rows.stop - rows.start
        expanded = inputs.expand(x[rows], program.input_shape)
        record = {name: train[rows] for name, train in spikes.items()}
        keep = {name: _within(asked.get(name, nothing), rows, (size, steps, n)) for name, n in size_of.items()}
        events: ledger.Events = {
            layer.name: {counter: np.zeros((size, steps), np.int64) for counter in ledger.counters(layer)}
            for layer in program.layers
        }
        given: dict[type, np.ndarray] = {np.float64: expanded.astype(np.float64)}
        here = at_sample(program, start)
        stepper = mine = Stepper(here, size)
        other = None
        if single:
            given[np.float32] = expanded.astype(np.float32)
            mine = Stepper(here, size, np, _float32) if own else stepper
            other = Stepper(_once_rounded(here) if own else here, size, np, _float32)
        cast = _float32 if own else _float64
        double = deciding(here, spikes)
        neurons = {name: operation.bind(cast) for name, operation in double.items()}
        errors = None
        if arithmetic is not None:
            norms = _norms(here, given[np.float64], record) if arithmetic.parallel else None
            errors = Running(here, arithmetic, steps, norms)
            unknown |= errors.unknown
        exceeded = {name: np.zeros((size, n), bool) for name, n in size_of.items()}
        recent = {name: np.zeros((size, n)) for name, n in size_of.items()}
        stream = np.empty((size, steps, *program.shapes[program.output]))
        for t in range(steps):
            streams = own_streams = stepper.step(given[np.float64][:, t], _clamp(program, record, t))
            if single:
                clamped = _clamp(program, record, t, np.float32)
                own_streams = mine.step(given[np.float32][:, t], clamped) if own else streams
                other.step(given[np.float32][:, t], clamped)  # type: ignore[union-attr]
            now = errors.step(mine, own_streams) if errors else {}
            stream[:, t] = streams[last]
            if last not in size_of and last in now:
                apart = np.abs(own_streams[last] - streams[last])
                np.maximum(bounds[last], (now[last] + apart).max(axis=0).ravel(), out=bounds[last])
            for layer in program.layers:
                entered, sent = stepper.entering[layer.name], streams[layer.name]
                counted = ledger.count_step(program, layer, entered, sent, stepper.started[layer.name])
                for counter, value in counted.items():
                    events[layer.name][counter][:, t] = value
            for name, operation in neurons.items():
                potential = stepper.potentials[name].reshape(size, -1)
                mined = mine.potentials[name]
                recorded = record[name][:, t]
                sent = recorded.reshape(mined.shape)
                contradicts = decided(operation, mine.before[name], mined).reshape(size, -1) != recorded
                wrong = contradicts
                if own:
                    right = decided(double[name], stepper.before[name], stepper.potentials[name])
                    wrong = contradicts | (right.reshape(size, -1) != recorded)
                distance = excess(operation, mine.before[name], mined, sent).reshape(size, -1)
                apart_from = np.abs(mined.reshape(size, -1) - distance)
                np.maximum(level[name], apart_from.max(axis=0), out=level[name])
                ties[name] += int(np.count_nonzero(distance == 0))
                entered = errors.received.get(name) if errors else None
                entered = np.full((size, size_of[name]), np.inf) if entered is None else entered.reshape(size, -1)
                np.maximum(received[name], entered.max(axis=0), out=received[name])
                bound = np.zeros((size, size_of[name])) if name not in now else now[name].reshape(size, -1)
                if seen is not None:
                    seen(name, start, t, distance, bound if name in now else None, contradicts)
                apart = np.abs(mined.reshape(size, -1) - potential) if own else 0.0
                np.maximum(bounds[name], (bound + apart).max(axis=0), out=bounds[name])
                np.maximum(running[name], bound.max(axis=0), out=running[name])
                largest[name] = max(largest[name], float(np.abs(mined).max()))
                if other is not None:
                    differing = np.abs(other.potentials[name] - mined).reshape(size, -1)
                    measured[name] = max(measured[name], float(differing.max()))
                    recent[name] = np.maximum(differing, FADING * recent[name])
                if limit is not None:
                    exceeded[name] |= np.abs(potential) >= limit
                exceeded[name] |= _ended(double[name], stepper, name).reshape(size, -1)
                sample, neuron = np.nonzero(wrong | keep[name][:, t])
                if sample.size:
                    keys = ((start + sample) * steps + t) * potential.shape[1] + neuron
                    at = (sample, neuron)
                    exact = excess(double[name], stepper.before[name], stepper.potentials[name], sent)
                    exact = exact.reshape(size, -1)
                    columns = (potential, wrong, exceeded[name], distance, contradicts, bound, exact, recent[name])
                    found[name].append((keys, *(column[at] for column in columns)))
        stepper.check_finite()
        look(rows, program.finish(stream), events)
    known = {
        name: None if arithmetic is None or name in unknown or not np.isfinite(bound).all() else bound
        for name, bound in bounds.items()
    }
    return Replay(
        {name: _gather(parts) for name, parts in found.items()}, known, running,
        measured if single else None, largest, ties, received, level,
    )  # fmt: skip


def _ended(operation: Deciding, stepper: Stepper, name: str) -> np.ndarray:
    """Whether a membrane of 16 bits was held at one of its ends in the step that ``stepper`` just made."""
    if isinstance(operation, FixedIF):
        return operation.clipped(stepper.before[name], stepper.entering[name])
    if isinstance(operation, MultiSpikeIF):
        ended: np.ndarray = stepper.state[name]["u"] == LOWEST
        return ended
    return np.zeros(stepper.potentials[name].shape, bool)


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


class _OnceRounded(Operation):
    """An operation whose sums are made in float64 and rounded once: another order of them, so to say."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation.bind(lambda array: array.astype(np.float32).astype(np.float64))
        self.kind = operation.kind  # type: ignore[misc]

    def bind(self, convert: Callable[[np.ndarray], Array]) -> Self:
        return self

    def output_shape(self, shape: Shape) -> Shape:
        return self.operation.output_shape(shape)

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        return state, self.operation.step(xp, state, x.astype(np.float64))[1].astype(np.float32)


def _once_rounded(program: Program) -> Program:
    summing = (Affine, Conv1d, Conv2d, SumPool2d, GLU, LayerNorm)
    return dataclasses.replace(
        program,
        layers=tuple(
            dataclasses.replace(layer, operation=_OnceRounded(layer.operation))
            if isinstance(layer.operation, summing)
            else layer
            for layer in program.layers
        ),
    )


def _norms(program: Program, x: np.ndarray, spikes: Spikes) -> dict[str, np.ndarray]:
    """Layer -> (B, *shape) root of the sum of the squares that enter each SSM: an FFT's error has no time."""
    stepper = Stepper(program, len(x))
    squares = {
        layer.name: np.zeros((len(x), *program.entering_shape(layer)))
        for layer in program.layers
        if isinstance(layer.operation, S4D)
    }
    for t in range(x.shape[1] if squares else 0):
        stepper.step(x[:, t], _clamp(program, spikes, t))
        for name, total in squares.items():
            total += stepper.entering[name] ** 2
    return {name: np.sqrt(total) for name, total in squares.items()}


def _gather(parts: list[tuple[np.ndarray, ...]]) -> Decisions:
    types = (np.int64, np.float64, bool, bool, np.float64, bool, np.float64, np.float64, np.float64)  # as in Decisions
    empty = tuple(np.empty(0, kind) for kind in types)
    columns = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
    order = np.argsort(columns[0])
    return Decisions(*(column[order] for column in columns))


def entering(
    program: Program, x: np.ndarray, spikes: Spikes, layers: Iterable[str], dtype: type = np.float64
) -> dict[str, np.ndarray]:
    """What enters each of ``layers`` at every step of a clamped replay in ``dtype``: (B, T, *shape)."""
    batch, steps = x.shape[:2]
    kept = {
        layer.name: np.empty((batch, steps, *program.entering_shape(layer)), dtype)
        for layer in program.layers
        if layer.name in set(layers)
    }
    given: np.ndarray = inputs.expand(x, program.input_shape).astype(dtype)
    stepper = Stepper(program, batch, np, lambda array: array.astype(dtype))
    for t in range(steps):
        stepper.step(given[:, t], _clamp(program, spikes, t, dtype))
        for name, values in kept.items():
            values[:, t] = stepper.entering[name]
    return kept


def decisions(operation: Deciding, entering: np.ndarray, spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to sending otherwise, and what it sends, (B, T, *shape): of one neuron as in ``potentials``."""
    shapes = operation.state_shapes(entering.shape[2:])
    state: State = {name: np.zeros((len(entering), *shape), entering.dtype) for name, shape in shapes.items()}
    distance, sends = np.empty_like(entering), np.empty_like(entering)
    for t in range(entering.shape[1]):
        potential = operation.integrate(np, state, entering[:, t])
        distance[:, t] = excess(operation, state, potential, spikes[:, t])
        sends[:, t] = decided(operation, state, potential)
        state = operation.reset(np, state, potential, spikes[:, t])
    return distance, sends


def edges(operation: Deciding, entering: np.ndarray, spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a record of ``spikes`` says of u': (distances to an edge, 1 where that must be >= 0 and -1 where < 0).

    Of (B, T, *shape); where numbers were recorded, of (2B, T, *shape), for each has an edge below and one above.
    """
    if not isinstance(operation, MultiSpikeIF):
        return decisions(operation, entering, spikes)[0], np.where(spikes != 0, 1.0, -1.0)
    potential, threshold = potentials(operation, entering, spikes), operation.threshold
    below = potential - threshold * np.maximum(spikes, 1)  # no spike has one edge alone
    above = potential - threshold * (spikes + 1)
    sign = np.where(spikes > 0, 1.0, -1.0)
    return np.concatenate([below, above]), np.concatenate([sign, np.full_like(sign, -1.0)])


def potentials(operation: Deciding, entering: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """u' (B, T, *shape) of one neuron, fed with ``entering`` and clamped to ``spikes`` of the same shape and dtype."""
    shapes = operation.state_shapes(entering.shape[2:])
    state: State = {name: np.zeros((len(entering), *shape), entering.dtype) for name, shape in shapes.items()}
    result = np.empty_like(entering)
    for t in range(entering.shape[1]):
        result[:, t] = operation.integrate(np, state, entering[:, t])
        state = operation.reset(np, state, result[:, t], spikes[:, t])
    return result


def _within(keys: np.ndarray, rows: slice, shape: tuple[int, int, int]) -> np.ndarray:
    """Booleans of these samples, true at those of ``keys`` that lie in them."""
    start, stop = (row * shape[1] * shape[2] for row in (rows.start, rows.stop))
    here = keys[slice(*np.searchsorted(keys, (start, stop)))]
    mask = np.zeros(math.prod(shape), bool)
    mask[here - start] = True
    return mask.reshape(shape)


def _clamp(program: Program, spikes: Spikes, t: int, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """The recorded spikes of one step, as the stepper takes them."""
    return {name: train[:, t].reshape(-1, *program.shapes[name]).astype(dtype) for name, train in spikes.items()}
