"""How far a side's potentials can be from those of the replay: a bound for every sample, neuron and step.

The bound runs through time beside the replay, from the values of that very step. A spike is exact, so an error lives
between one spiking layer and the next, in states, and in a membrane until it resets. First order; docs/verify.md has
the derivation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from deploy.verification.rules import REMEMBERING, RULES, Context, fft_error
from simulators.clamped import Piece
from spikestrip.operations import S4D, State
from spikestrip.program import INPUT, Layer, Program

STATEMENT = (
    "each decision against the replay in the side's own dtype and order (float64 for a parallel form), within a "
    "first-order bound that runs through time with the actual values: only sums whose order is unknown and functions "
    "like exp add error to a run step by step, and every operation to a parallel form; the bound is given for each "
    "layer, the largest that any decision had"
)
NOTABLE = 0.01  # of the threshold: a bound above it can hide a fault that matters


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """How a side computes: its dtype, the unit roundoff of that, and whether whole sequences at once."""

    dtype: str
    unit: float
    parallel: bool


class Running:
    """Carries the bounds of a batch along a replay, piece by piece. ``unknown``: layers without a known bound.

    norms: layer -> (B, *shape), what enters an SSM in a parallel form, as the root of its squares over all steps.
    """

    def __init__(
        self, program: Program, arithmetic: Arithmetic, steps: int, norms: dict[str, np.ndarray] | None = None
    ) -> None:
        self.program = program
        self.steps = steps
        self.parallel = arithmetic.parallel
        # the side rounds, and so does the replay: in the same dtype, or in float64
        self.unit = arithmetic.unit + (2.0**-53 if self.parallel else arithmetic.unit)
        self.norms = norms or {}
        self.unknown = _unknown(program)
        self.received: dict[str, np.ndarray] = {}  # of the piece's inputs of each recorded layer
        self._memory: dict[str, dict[str, Any]] = {layer.name: {} for layer in program.layers}
        self._previous: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def over(self, piece: Piece) -> dict[str, np.ndarray]:
        """Layer -> (T, B, *shape), bounds on the error of its output, of u' if it is recorded, in a replay's piece."""
        values = {name: np.asarray(stream, np.float64) for name, stream in piece.streams.items()}
        errors: dict[str, np.ndarray] = {INPUT: np.zeros_like(values[INPUT])}
        bounds: dict[str, np.ndarray] = {}
        for layer in self.program.layers:
            name = layer.name
            if name in self.unknown:
                continue
            x = np.asarray(piece.entering[name], np.float64)
            e = self._entering(layer, values, errors, x)
            recorded = name in piece.potentials
            if recorded:
                self.received[name] = e
            y = np.asarray(piece.potentials[name], np.float64) if recorded else values[name]
            bounds[name] = self._bound(layer, piece, e, x, y, values[name] if recorded else None)
            errors[name] = np.zeros_like(y) if recorded else bounds[name]
        self._previous = {
            source: (values[source][-1:], errors.get(source, np.zeros_like(values[source]))[-1:])
            for source in self.program.delayed_sources
        }
        return bounds

    def _entering(
        self, layer: Layer, values: dict[str, np.ndarray], errors: dict[str, np.ndarray], x: np.ndarray
    ) -> np.ndarray:
        parts = [(values[source], errors[source]) for source in layer.inputs]
        parts += [self._late(source, values, errors, x) for source in layer.delayed]
        e = sum((error for _, error in parts), np.zeros_like(x))
        if len(parts) > 1:  # a partial sum can be larger than the whole
            magnitude = (len(parts) - 1) * sum(np.abs(value) for value, _ in parts)
            e = e + self.unit * (magnitude if self.parallel else magnitude * (e > 0))
        return np.asarray(e)

    def _late(
        self, source: str, values: dict[str, np.ndarray], errors: dict[str, np.ndarray], x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A stream and its errors one step later. Errors that aren't known yet are spikes', or those of a last step."""
        nothing = np.zeros_like(x[:1])
        value, error = self._previous.get(source, (nothing, nothing))
        known = errors.get(source, np.zeros_like(x))
        return np.concatenate([value, values[source][:-1]]), np.concatenate([error, known[:-1]])

    def _bound(
        self, layer: Layer, piece: Piece, e: np.ndarray, x: np.ndarray, y: np.ndarray, fired: np.ndarray | None
    ) -> np.ndarray:
        operation, name, memory = layer.operation, layer.name, self._memory[layer.name]
        rule, norm = RULES[operation.kind], self.norms.get(name)
        rest = (memory, self.unit, self.parallel, norm, self.steps)
        if operation.kind not in REMEMBERING:
            e, x, flat = (array.reshape(-1, *array.shape[2:]) for array in (e, x, y))
            error = rule(operation, Context(e, x, flat, None, {}, {}, *rest))
            return np.broadcast_to(error, flat.shape).reshape(y.shape)
        if not self.parallel and not e.any() and not any(np.any(error) for error in memory.values()):
            return np.zeros_like(y)  # no error yet, and none is made
        if isinstance(operation, S4D) and name not in piece.found:
            from deploy.verification import modes  # numba is there, or its states would have been found

            out = modes.errors_over(operation, piece.began[name], e, x, memory, self.unit, self.parallel)
            return out + fft_error(operation, memory, self.unit, norm, self.steps)
        steps = (
            Context(e[t], x[t], y[t], None if fired is None else fired[t], before, after, *rest)
            for t, (before, after) in enumerate(_states(piece, name))
        )
        return np.stack([rule(operation, context) for context in steps])


def _states(piece: Piece, name: str) -> Iterator[tuple[State, State]]:
    """Of every step the state that it found, and that it left, in float64."""
    found, ended = piece.found.get(name), piece.ended[name]
    if found is None:  # a LeakyIntegrator's stream is its state
        stream = piece.streams[name]
        found = {"u": np.concatenate([piece.began[name]["u"][None], stream[:-1]])}
    whole = {key: np.concatenate([value, ended[key][None]]).astype(np.float64) for key, value in found.items()}
    for t in range(len(piece.entering[name])):
        yield ({key: value[t] for key, value in whole.items()}, {key: value[t + 1] for key, value in whole.items()})


def _unknown(program: Program) -> set[str]:
    """Layers without a rule, and those that their values reach before a spike."""
    unknown: set[str] = set()
    spiking = {layer.name for layer in program.spiking}
    while True:
        more = {
            layer.name
            for layer in program.layers
            if layer.operation.kind not in RULES or (unknown - spiking) & {*layer.inputs, *layer.delayed}
        }
        if more <= unknown:
            return unknown
        unknown |= more
