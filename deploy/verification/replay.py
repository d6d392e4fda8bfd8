"""A program replayed on a trace's own spikes: what each neuron should have decided, given that trace's own history."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterable, Mapping
from types import ModuleType
from typing import Self

import numpy as np

from deploy.verification.bounds import Arithmetic, Running
from simulators.clamped import Clamped, Piece, stepped
from spikestrip import inputs, ledger
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
    seen(layer, first sample, first step, excess, bound or None, contradicts): called with all decisions, those of some
    rows and steps at a time, (T, rows, N) each, in the side's own arithmetic.
    """
    found = _Found(program, spikes, asked, limit, arithmetic, x.shape[1], seen)
    for start in range(0, len(x), ROWS):
        rows = slice(start, min(start + ROWS, len(x)))
        output, events = found.samples(rows, x[rows])
        look(rows, output, events)
    return found.replay()


class _Found:
    """Gathers what a replay finds, ROWS samples after ROWS samples, piece by piece of their steps."""

    def __init__(
        self,
        program: Program,
        spikes: Spikes,
        asked: Mapping[str, np.ndarray],
        limit: float | None,
        arithmetic: Arithmetic | None,
        steps: int,
        seen: Seen | None,
    ) -> None:
        self.program, self.spikes, self.asked, self.limit = program, spikes, asked, limit
        self.arithmetic, self.steps, self.seen = arithmetic, steps, seen
        self.single = arithmetic is not None and arithmetic.dtype == "float32"
        self.own = self.single and arithmetic is not None and not arithmetic.parallel
        self.sizes = {name: math.prod(program.shapes[name]) for name in deciding(program, spikes)}
        self.decisions: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in self.sizes}
        self.bounds, self.running, self.received, self.level = (
            {name: np.zeros(size) for name, size in self.sizes.items()} for _ in range(4)
        )
        self.measured, self.largest = (dict.fromkeys(self.sizes, 0.0) for _ in range(2))
        self.ties = dict.fromkeys(self.sizes, 0)
        if program.output not in self.sizes:
            self.bounds[program.output] = np.zeros(math.prod(program.shapes[program.output]))
        self.unknown: set[str] = set()

    def samples(self, rows: slice, x: np.ndarray) -> tuple[np.ndarray, ledger.Events]:
        """Replay some samples, whose input is x, from their beginning; gives their output and events."""
        here, size = at_sample(self.program, rows.start), len(x)
        given = np.ascontiguousarray(inputs.expand(x, here.input_shape).swapaxes(0, 1))
        record = time_first(here, {name: train[rows] for name, train in self.spikes.items()})
        exact = Clamped(here, size, record)
        mine = Clamped(here, size, record, np.float32) if self.own else exact
        other = Clamped(_once_rounded(here) if self.own else here, size, record, np.float32) if self.single else None
        errors = None
        if self.arithmetic is not None:
            norms = _norms(here, given, record) if self.arithmetic.parallel else None
            errors = Running(here, self.arithmetic, self.steps, norms)
            self.unknown |= errors.unknown
        watched = {name: _Watched(self, name, operation, rows) for name, operation in deciding(here, record).items()}
        events = ledger.empty(here, size, self.steps)
        last = here.output
        stream = np.empty((size, self.steps, *here.shapes[last]))
        for start in range(0, self.steps, exact.steps):
            steps = slice(start, min(start + exact.steps, self.steps))
            sent = {name: train[steps] for name, train in record.items()}
            double = exact.run(given[steps], sent)
            own = mine.run(given[steps], sent) if self.own else double
            rounded = other.run(given[steps], sent) if other else None
            now = errors.over(own) if errors else {}
            received = errors.received if errors else {}
            stream[:, steps] = double.streams[last].swapaxes(0, 1)
            if last not in self.sizes and last in now:
                apart = np.abs(own.streams[last] - double.streams[last])
                _raise(self.bounds[last], now[last] + apart)
            for layer in here.layers:
                name = layer.name
                ledger.count_piece(
                    here, layer, double.entering[name], double.streams[name], events, steps, double.found.get(name, {})
                )
            for name, one in watched.items():
                one.look(steps, double, own, rounded, now.get(name), received.get(name))
        exact.check_finite()
        return here.finish(stream), events

    def replay(self) -> Replay:
        known = {
            name: None if self.arithmetic is None or name in self.unknown or not np.isfinite(bound).all() else bound
            for name, bound in self.bounds.items()
        }
        decisions = {name: _gather(parts) for name, parts in self.decisions.items()}
        measured = self.measured if self.single else None
        return Replay(
            decisions, known, self.running, measured, self.largest, self.ties, self.received, self.level
        )  # fmt: skip


class _Watched:
    """The decisions of one layer on some samples: looked at piece by piece of their steps."""

    def __init__(self, found: _Found, name: str, operation: Deciding, rows: slice) -> None:
        self.found, self.name, self.start = found, name, rows.start
        self.exact, self.mine = operation.bind(_float64), operation.bind(_float32 if found.own else _float64)
        size, steps, neurons = rows.stop - rows.start, found.steps, found.sizes[name]
        asked = found.asked.get(name, np.empty(0, np.int64))
        self.keep = _within(asked, rows, (size, steps, neurons)).swapaxes(0, 1)
        self.exceeded, self.recent = np.zeros((size, neurons), bool), np.zeros((size, neurons))

    def look(
        self,
        steps: slice,
        exact: Piece,
        mine: Piece,
        other: Piece | None,
        bound: np.ndarray | None,
        received: np.ndarray | None,
    ) -> None:
        """Of these steps: the replay in float64, in the side's own arithmetic, and in another of the same precision.

        bound: of the error of u', received: of what entered, (T, B, *shape); None where none is known.
        """
        found, name = self.found, self.name
        sent, potential, own = exact.streams[name], exact.potentials[name], mine.potentials[name]
        flat = (*sent.shape[:2], -1)
        contradicts = (decided(self.mine, mine.found[name], own) != sent).reshape(flat)
        wrong = contradicts
        if found.own:
            wrong = wrong | (decided(self.exact, exact.found[name], potential) != sent).reshape(flat)
        distance = excess(self.mine, mine.found[name], own, mine.streams[name]).reshape(flat)
        margin = excess(self.exact, exact.found[name], potential, sent).reshape(flat)
        limits = np.zeros(distance.shape) if bound is None else bound.reshape(flat)
        potential, own = potential.reshape(flat), own.reshape(flat)
        if found.seen is not None:
            found.seen(name, self.start, steps.start, distance, None if bound is None else limits, contradicts)
        _raise(found.level[name], np.abs(own - distance))
        _raise(found.received[name], np.full((*flat[:2], 1), np.inf) if received is None else received.reshape(flat))
        _raise(found.bounds[name], limits + np.abs(own - potential) if found.own else limits)
        _raise(found.running[name], limits)
        found.largest[name] = max(found.largest[name], _largest(own))
        found.ties[name] += int(np.count_nonzero(distance == 0))
        recent = self._recent(np.abs(other.potentials[name].reshape(flat) - own)) if other else np.zeros(own.shape)
        exceeded = self._exceeded(exact, potential)
        t, sample, neuron = at = np.nonzero(wrong | self.keep[steps])
        if t.size:
            keys = ((self.start + sample) * found.steps + steps.start + t) * potential.shape[2] + neuron
            columns = (potential, wrong, exceeded, distance, contradicts, limits, margin, recent)
            found.decisions[name].append((keys, *(column[at] for column in columns)))

    def _recent(self, differing: np.ndarray) -> np.ndarray:
        """The largest difference that each neuron had lately, (T, B, N)."""
        self.found.measured[self.name] = max(self.found.measured[self.name], _largest(differing))
        recent = np.empty(differing.shape)
        for t, now in enumerate(differing):
            self.recent = recent[t] = np.maximum(now, FADING * self.recent)
        return recent

    def _exceeded(self, piece: Piece, potential: np.ndarray) -> np.ndarray:
        """Whether a neuron had saturated by then, (T, B, N)."""
        over = _ended(self.exact, piece, self.name).reshape(potential.shape)
        if self.found.limit is not None:
            over = over | (np.abs(potential) >= self.found.limit)
        over = np.logical_or.accumulate(np.concatenate([self.exceeded[None], over]))
        self.exceeded = over[-1]
        return over[1:]


def _largest(values: np.ndarray) -> float:
    """Magnitude; of what overflowed, and is no number any more, infinity."""
    largest = float(np.abs(values).max())
    return largest if largest == largest else math.inf


def _raise(largest: np.ndarray, values: np.ndarray) -> None:
    """``largest`` (N,), of each neuron, by ``values`` (T, B, ...)."""
    np.maximum(largest, values.max(axis=(0, 1)).ravel(), out=largest)


def _ended(operation: Deciding, piece: Piece, name: str) -> np.ndarray:
    """Where a membrane of 16 bits was held at one of its ends: (T, B, *shape)."""
    if isinstance(operation, FixedIF):
        return operation.clipped(piece.found[name], piece.entering[name])
    if isinstance(operation, MultiSpikeIF):
        left = np.concatenate([piece.found[name]["u"][1:], piece.ended[name]["u"][None]])
        return np.asarray(left == LOWEST)
    return np.zeros(piece.potentials[name].shape, bool)


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


class _OnceRounded(Operation):
    """An operation whose sums are made in float64 and rounded once: another order of them, so to say."""

    rowwise = True

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
    """Layer -> (B, *shape) root of the sum of the squares that enter each SSM: an FFT's error has no time.

    x, spikes: time first, as ``Clamped`` takes them.
    """
    modes = [layer.name for layer in program.layers if isinstance(layer.operation, S4D)]
    squares = dict.fromkeys(modes, np.zeros(1))
    for piece in Clamped(program, x.shape[1], spikes).pieces(x, spikes) if modes else ():
        squares = {name: total + np.sum(piece.entering[name] ** 2, axis=0) for name, total in squares.items()}
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
    record = time_first(program, spikes)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    given = inputs.expand(x, program.input_shape).swapaxes(0, 1)
    for piece in Clamped(program, len(x), record, dtype).pieces(given, record):
        for name, found in parts.items():
            found.append(piece.entering[name].swapaxes(0, 1))
    return {name: np.concatenate(found, axis=1) for name, found in parts.items()}


def decisions(operation: Deciding, entering: np.ndarray, spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to sending otherwise, and what it sends, (B, T, *shape): of one neuron as in ``potentials``."""
    potential, found = _clamped(operation, entering, spikes)
    sent = spikes.swapaxes(0, 1)
    distance = np.asarray(excess(operation, found, potential, sent))
    sends = np.asarray(decided(operation, found, potential)).astype(entering.dtype)
    return distance.swapaxes(0, 1), sends.swapaxes(0, 1)


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
    return _clamped(operation, entering, spikes)[0].swapaxes(0, 1)


def _clamped(operation: Deciding, entering: np.ndarray, spikes: np.ndarray) -> tuple[np.ndarray, State]:
    """u' and the states that each step found, time first, of one neuron from its start."""
    shapes = operation.state_shapes(entering.shape[2:])
    state: State = {name: np.zeros((len(entering), *shape), entering.dtype) for name, shape in shapes.items()}
    return stepped(operation, state, entering.swapaxes(0, 1), spikes.swapaxes(0, 1))[1:]


def _within(keys: np.ndarray, rows: slice, shape: tuple[int, int, int]) -> np.ndarray:
    """Booleans of these samples, true at those of ``keys`` that lie in them."""
    start, stop = (row * shape[1] * shape[2] for row in (rows.start, rows.stop))
    here = keys[slice(*np.searchsorted(keys, (start, stop)))]
    mask = np.zeros(math.prod(shape), bool)
    mask[here - start] = True
    return mask.reshape(shape)


def time_first(program: Program, spikes: Spikes) -> dict[str, np.ndarray]:
    """A record (B, T, N) as ``Clamped`` takes it: (T, B, *shape), of the layers that decide."""
    return {
        name: spikes[name].swapaxes(0, 1).reshape(spikes[name].shape[1], -1, *program.shapes[name])
        for name in deciding(program, spikes)
    }
