"""A program replayed on a trace's own spikes: what each neuron should have decided, given that trace's own history."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np

from deploy.verification.rounding import Magnitudes
from spikestrip import inputs, ledger
from spikestrip.execution import Stepper
from spikestrip.operations import COUNTERS, SpikingOperation, State
from spikestrip.program import Program, at_sample

Spikes = Mapping[str, np.ndarray]
ROWS = 8  # samples stepped together: what a step touches stays in a core's cache


@dataclasses.dataclass
class Decisions:
    """The decisions of one layer that contradict the program, and those that were asked for, sorted by ``keys``.

    keys: position in the flattened (B, T, N) spikes; potentials: u' there; wrong: it contradicts the program;
    saturated: |u'| had passed the limit of a saturating machine by then.
    """

    keys: np.ndarray
    potentials: np.ndarray
    wrong: np.ndarray
    saturated: np.ndarray

    def at(self, keys: np.ndarray) -> np.ndarray:
        """Indices of ``keys``, each of which must be there."""
        return np.searchsorted(self.keys, keys)


@dataclasses.dataclass
class Replay:
    """What a replay found. output: (B, ...) as ``Program.finish`` gives it; events: as ``ledger.count`` gives them."""

    decisions: dict[str, Decisions]
    output: np.ndarray
    events: ledger.Events
    seen: Magnitudes


def replay(
    program: Program, x: np.ndarray, spikes: Spikes, asked: Mapping[str, np.ndarray], limit: float | None = None
) -> Replay:
    """Replay ``program`` in float64, clamped to ``spikes``, and look at every decision.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N); asked: layer -> (B, T, N) booleans, decisions to
    keep although they may be right; limit: |u'| at which the trace's machine saturates.
    """
    batch, steps = x.shape[:2]
    events: ledger.Events = {
        layer.name: {counter: np.zeros((batch, steps), np.int64) for counter in COUNTERS} for layer in program.layers
    }
    seen = Magnitudes(program, steps)
    output: list[np.ndarray] = []
    found: dict[str, list[tuple[np.ndarray, ...]]] = {layer.name: [] for layer in program.spiking}
    for start in range(0, batch, ROWS):
        rows = slice(start, min(start + ROWS, batch))
        size = rows.stop - rows.start
        given = inputs.expand(x[rows], program.input_shape).astype(np.float64)
        stepper = Stepper(at_sample(program, start), size)
        exceeded = {
            layer.name: np.zeros((size, math.prod(program.shapes[layer.name])), bool) for layer in program.spiking
        }
        stream = np.empty((size, steps, *program.shapes[program.output]))
        for t in range(steps):
            streams = stepper.step(given[:, t], _clamp(program, spikes, rows, t))
            stream[:, t] = streams[program.output]
            seen.update(stepper, streams)
            for layer in program.layers:
                counted = ledger.count_step(program, layer, stepper.entering[layer.name], streams[layer.name])
                for counter, value in counted.items():
                    events[layer.name][counter][rows, t] = value
            for layer in program.spiking:
                potential = stepper.potentials[layer.name]
                right = layer.operation.fire({}, potential).reshape(size, -1)  # type: ignore[attr-defined]
                potential = potential.reshape(size, -1)
                if limit is not None:
                    exceeded[layer.name] |= np.abs(potential) >= limit
                wrong = right != (spikes[layer.name][rows, t] != 0)
                sample, neuron = np.nonzero(wrong | asked[layer.name][rows, t])
                if sample.size:
                    keys = ((start + sample) * steps + t) * potential.shape[1] + neuron
                    at = (sample, neuron)
                    found[layer.name].append((keys, potential[at], wrong[at], exceeded[layer.name][at]))
        stepper.check_finite()
        output.append(program.finish(stream))
    return Replay({name: _gather(parts) for name, parts in found.items()}, np.concatenate(output), events, seen)


def _gather(parts: list[tuple[np.ndarray, ...]]) -> Decisions:
    empty = (np.empty(0, np.int64), np.empty(0), np.empty(0, bool), np.empty(0, bool))
    keys, potentials, wrong, saturated = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    order = np.argsort(keys)
    return Decisions(keys[order], potentials[order], wrong[order], saturated[order])


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
        stepper.step(given[:, t], _clamp(program, spikes, slice(0, batch), t, dtype))
        for name, values in kept.items():
            values[:, t] = stepper.entering[name]
    return kept


def potentials(operation: SpikingOperation, entering: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """u' (B, T, *shape) of one neuron, fed with ``entering`` and clamped to ``spikes`` of the same shape and dtype."""
    shapes = operation.state_shapes(entering.shape[2:])
    state: State = {name: np.zeros((len(entering), *shape), entering.dtype) for name, shape in shapes.items()}
    result = np.empty_like(entering)
    for t in range(entering.shape[1]):
        result[:, t] = operation.integrate(np, state, entering[:, t])
        state = operation.reset(np, state, result[:, t], spikes[:, t])
    return result


def _clamp(program: Program, spikes: Spikes, rows: slice, t: int, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """The recorded spikes of one step, as the stepper takes them."""
    return {name: train[rows, t].reshape(-1, *program.shapes[name]).astype(dtype) for name, train in spikes.items()}
