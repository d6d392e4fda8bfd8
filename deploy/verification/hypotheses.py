"""Faults on the way to a layer: what else than the program's own path made these decisions?

Each hypothesis is a changed program, input or record, replayed on the side's own spikes. It is named only when under it
no decision of the layer contradicts beyond rounding; first on few samples and steps, then on all that were chosen.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from deploy.verification.replay import Deciding, decisions, edges
from spikestrip import inputs
from spikestrip.execution import Stepper
from spikestrip.operations import Affine, FixedOperation
from spikestrip.program import INPUT, Layer, Program

ENOUGH = 3  # wrong decisions before another path counts as an explanation of them
SCREENED = 16  # wrong decisions that a hypothesis is first tried on
SCALED = {  # what scales u' with it, and its fields
    "weight": ("weight",),
    "scale": ("scale",),
    "C and D": ("c_re", "c_im", "d"),
    "C": ("c_re", "c_im"),
    "D": ("d",),
}
FEW = 2  # neurons whose every weight is tried
SWAPPED = 32  # neurons or samples among which swaps are looked for


@dataclasses.dataclass
class History:
    """Some samples and steps of a side, as one layer saw them.

    x: (B, T, *input_shape) float64; spikes: layer -> (B, T, N); bound: (*shape) on the rounding of u'.
    """

    program: Program
    name: str
    x: np.ndarray
    spikes: Mapping[str, np.ndarray]
    bound: np.ndarray

    @property
    def operation(self) -> Deciding:
        operation: Any = self.program[self.name].operation  # Deciding, since it is judged
        return operation

    @property
    def fired(self) -> np.ndarray:
        """(B, T, *shape), 0 or 1, or how many."""
        train = self.spikes[self.name].astype(np.float64)
        return train.reshape(*train.shape[:2], *self.program.shapes[self.name])

    def received(self) -> np.ndarray:
        """What entered the layer, (B, T, *shape), in float64."""
        batch, steps = self.x.shape[:2]
        kept = np.empty((batch, steps, *self.program.entering_shape(self.program[self.name])))
        stepper = Stepper(self.program, batch, only=upstream(self.program, self.name))
        shapes = self.program.shapes
        for t in range(steps):
            fired = {
                name: train[:, t].reshape(batch, *shapes[name]).astype(np.float64)
                for name, train in self.spikes.items()
            }
            stepper.step(self.x[:, t], fired)
            kept[:, t] = stepper.entering[self.name]
        return kept

    def wrong(self, received: np.ndarray | None = None, fired: np.ndarray | None = None) -> np.ndarray:
        """Decisions (B, T, *shape) that the neuron contradicts beyond rounding."""
        operation = self.operation
        fired = self.fired if fired is None else fired
        received = self.received() if received is None else received
        excess, sends = decisions(operation, received, fired)
        return np.asarray((sends != fired) & (np.abs(excess) > self.bound))

    def screened(self, wrong: np.ndarray) -> History:
        """A small part in which something is wrong: two samples, up to the step by which enough of them are."""
        counts = wrong.reshape(*wrong.shape[:2], -1).sum(axis=2)
        rows = np.sort(np.argsort(counts.sum(axis=1))[-2:])
        reached = np.flatnonzero(counts[rows].sum(axis=0).cumsum() >= SCREENED)
        steps = reached[0] + 1 if reached.size else wrong.shape[1]
        spikes = {name: train[rows, :steps] for name, train in self.spikes.items()}
        return dataclasses.replace(self, x=self.x[rows, :steps], spikes=spikes)


def explain_path(
    program: Program, name: str, x: np.ndarray, spikes: Mapping[str, np.ndarray], rows: np.ndarray, bound: np.ndarray
) -> tuple[str, str] | None:
    """The fault (delay, bias, wiring, state, input or parameter) that explains a layer, and a sentence on it.

    x, spikes: of all samples; rows: those to try on; bound: (*shape). None if nothing of it explains every decision.
    """

    def history(chosen: np.ndarray) -> History:
        given = inputs.expand(x[chosen], program.input_shape).astype(np.float64)
        return History(program, name, given, {layer: train[chosen] for layer, train in spikes.items()}, bound)

    whole = history(rows)
    received = whole.received()
    wrong = whole.wrong(received)
    if np.count_nonzero(wrong) < ENOUGH or not whole.fired.any():  # a number that is large enough explains silence
        return None
    part = whole.screened(wrong)
    for fault, sentence, change in (*_delays(program, name), *_biases(program, name)):
        if not any(dataclasses.replace(one, program=change).wrong().any() for one in (part, whole)):
            return fault, f"every decision follows {sentence}"
    return (
        _swapped(whole, received, wrong)
        or _carried(history(np.arange(len(rows))))
        or _scaled(part, whole)
        or _one_weight(part, whole, wrong)
    )  # fmt: skip


def upstream(program: Program, name: str) -> set[str]:
    """The layer and those that lead to it from the input or from spikes."""
    found, ahead = {name}, [name]
    while ahead:
        layer = program[ahead.pop()]
        sources = {*layer.inputs, *layer.delayed} - found - {INPUT}
        more = [source for source in sources if not program[source].operation.spiking]
        found.update(more)
        ahead += more
    return found


def _replaced(program: Program, changed: Layer) -> Program:
    return dataclasses.replace(
        program, layers=tuple(changed if layer.name == changed.name else layer for layer in program.layers)
    )


def _path(program: Program, name: str) -> list[Layer]:
    """The upstream layers, the nearest first."""
    found = upstream(program, name)
    return [layer for layer in reversed(program.layers) if layer.name in found]


def _delays(program: Program, name: str) -> Iterator[tuple[str, str, Program]]:
    """One layer computes with what entered a step before; all of it, or one of several edges."""
    for layer in _path(program, name):
        choices = [layer.inputs] if len(layer.inputs) == 1 else [layer.inputs, *((source,) for source in layer.inputs)]
        for late in choices if layer.inputs else ():
            kept = tuple(source for source in layer.inputs if source not in late)
            changed = dataclasses.replace(layer, inputs=kept, delayed=(*layer.delayed, *late))
            yield (
                "delay",
                f"layer {layer.name} computing with the previous step's {' + '.join(late)}",
                _replaced(program, changed),
            )


def _biases(program: Program, name: str) -> Iterator[tuple[str, str, Program]]:
    for layer in _path(program, name):
        operation: Any = layer.operation
        if getattr(operation, "bias", None) is not None:
            bare = dataclasses.replace(operation, bias=np.zeros_like(operation.bias))
            yield (
                "bias",
                f"layer {layer.name} without its bias",
                _replaced(program, dataclasses.replace(layer, operation=bare)),
            )


def _swapped(whole: History, received: np.ndarray, wrong: np.ndarray) -> tuple[str, str] | None:
    """Two or more neurons, or samples of this layer, whose records or inputs stand in each other's place."""
    flat, fired = (values.reshape(*values.shape[:2], -1) for values in (received, whole.fired))
    faulty = wrong.reshape(flat.shape)
    for axis, word in ((2, "neurons"), (0, "samples")):
        moved = np.flatnonzero(faulty.any(axis=tuple({0, 1, 2} - {axis})))
        if not 2 <= moved.size <= SWAPPED:
            continue
        for what in ("spikes", "inputs"):
            source = fired if what == "spikes" else flat
            fits = np.zeros((moved.size, moved.size), bool)
            for column, other in enumerate(moved):
                shown = np.broadcast_to(source.take([other], axis=axis), flat.shape).reshape(received.shape)
                pair = (received, shown) if what == "spikes" else (shown, whole.fired)
                bad = whole.wrong(*pair).reshape(flat.shape).take(moved, axis=axis)
                fits[:, column] = ~bad.any(axis=tuple({0, 1, 2} - {axis}))
            np.fill_diagonal(fits, False)
            order = fits.argmax(axis=1)
            if fits.any(axis=1).all() and np.unique(order).size == moved.size:
                shown_pairs = ", ".join(f"{moved[k]} has those of {moved[order[k]]}" for k in range(min(4, moved.size)))
                return "wiring", f"every decision follows {word} with each other's {what} ({shown_pairs})"
    return None


def _carried(first: History) -> tuple[str, str] | None:
    """Samples from the first on, one after another without a reset of states between them."""
    batch, steps = first.x.shape[:2]
    if batch < 2:
        return None
    received = first.received()
    if np.count_nonzero(first.wrong(received)) < ENOUGH:
        return None

    def in_a_row(values: np.ndarray) -> np.ndarray:
        return values.reshape(1, batch * steps, *values.shape[2:])

    row = dataclasses.replace(
        first, x=in_a_row(first.x), spikes={name: in_a_row(train) for name, train in first.spikes.items()}
    )
    kept = row.received()
    for what, entered, fired in (
        ("all states", kept, None),
        ("the neuron's state", in_a_row(received), None),
        ("the states before the neuron", kept.reshape(received.shape), first.fired),
    ):
        if not (row if fired is None else first).wrong(entered, fired).any():
            return "state", f"every decision follows {what} kept from sample to sample"
    return None


def _scaled(part: History, whole: History) -> tuple[str, str] | None:
    """The input scaled or shifted, or one layer's weights scaled, by one number."""
    for fault, what, change in _scales(whole.program, whole.name):
        if _interval(part, change) is None:
            continue
        found = _interval(whole, change)
        if found is not None and not change(whole, found[0]).wrong().any():
            by, low, high = found
            return fault, f"every decision follows {what} by {by:.6g} (by {low:.6g} to {high:.6g})"
    return None


def _one_weight(part: History, whole: History, wrong: np.ndarray) -> tuple[str, str] | None:
    """One weight of a matrix on the way, into the row of a neuron that is wrong, other than the program's."""
    guilty = np.flatnonzero(wrong.reshape(*wrong.shape[:2], -1).any(axis=(0, 1)))
    if guilty.size > FEW:
        return None
    for layer in _path(whole.program, whole.name):
        if not isinstance(layer.operation, Affine):
            continue
        rows, columns = layer.operation.weight.shape
        for row, column in itertools.product((int(row) for row in guilty if row < rows), range(columns)):

            def moved(one: History, by: float, layer: Layer = layer, at: tuple[int, int] = (row, column)) -> History:
                operation: Any = layer.operation
                weight = operation.weight.astype(np.float64)
                weight[at] += by
                changed = dataclasses.replace(layer, operation=dataclasses.replace(operation, weight=weight))
                return dataclasses.replace(one, program=_replaced(one.program, changed))

            if _interval(part, moved) is None:
                continue
            found = _interval(whole, moved)
            if found is not None and not moved(whole, found[0]).wrong().any():
                by, low, high = found
                return "parameter", (
                    f"every decision follows layer {layer.name} with its weight [{row}, {column}] other by {by:.6g} "
                    f"(by {low:.6g} to {high:.6g})"
                )
    return None


Change = Callable[[History, float], History]


def _scales(program: Program, name: str) -> Iterator[tuple[str, str, Change]]:
    yield "input", "an input scaled", lambda one, by: dataclasses.replace(one, x=one.x * by)
    yield "input", "an input shifted", lambda one, by: dataclasses.replace(one, x=one.x + by)
    for layer in _path(program, name):
        if isinstance(layer.operation, FixedOperation):
            continue  # words of integers, scaled, are no words
        for what, fields in SCALED.items():
            if not all(hasattr(layer.operation, field) for field in fields):
                continue

            def scaled(one: History, by: float, layer: Layer = layer, fields: tuple[str, ...] = fields) -> History:
                operation: Any = layer.operation
                arrays = {field: getattr(operation, field).astype(np.float64) * by for field in fields}
                changed = dataclasses.replace(layer, operation=dataclasses.replace(operation, **arrays))
                return dataclasses.replace(one, program=_replaced(one.program, changed))

            yield "parameter", f"layer {layer.name} with its {what} scaled", scaled


def _interval(history: History, change: Change) -> tuple[float, float, float] | None:
    """(a number within, lowest, highest) of the numbers that every decision allows, if u' is linear in them."""
    operation, fired = history.operation, history.fired
    (zero, sign), (one, _) = (edges(operation, change(history, by).received(), fired) for by in (0.0, 1.0))
    slope, start = one - zero, zero
    flat = np.abs(slope) <= 1e-12 * (np.abs(one) + np.abs(zero))
    # sign*(start + by*slope) >= -bound
    if (flat & (sign * start < -history.bound)).any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = (-sign * history.bound - start) / slope
    rising, falling = ~flat & (sign * slope > 0), ~flat & (sign * slope < 0)
    low = float(limit[rising].max(initial=-np.inf))
    high = float(limit[falling].min(initial=np.inf))
    if not low <= high or (np.isinf(low) and np.isinf(high)):
        return None
    if np.isinf(low) or np.isinf(high):
        finite = high if np.isinf(low) else low
        return finite + (-1 if np.isinf(low) else 1) * 1e-3 * max(1.0, abs(finite)), low, high
    return (low + high) / 2, low, high
