"""A program clamped to recorded spikes, layer by layer over many steps: to the bit what ``Stepper`` steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from spikestrip import execution
from spikestrip.errors import BadInput
from spikestrip.operations import S4D, Array, LeakyIntegrator, Operation, State
from spikestrip.program import INPUT, Layer, Program

WHOLE = 64 << 20  # bytes of a piece's streams, all together: a deep network has many


@dataclasses.dataclass
class Piece:
    """What every layer did in some steps; arrays are time first, (T, B, *shape), in the dtype of the run.

    entering: what entered each layer; streams: what it sent, the input and the record included; potentials: u' of the
    recorded layers; began: the state before the first step; found: the state that each step found, of all layers
    except S4D and LeakyIntegrator where these ran as one compiled loop; ended: the state behind the last step.
    """

    entering: dict[str, np.ndarray]
    streams: dict[str, np.ndarray]
    potentials: dict[str, np.ndarray]
    began: dict[str, State]
    found: dict[str, State]
    ended: dict[str, State]


class Clamped:
    """Runs ``program`` on ``batch`` samples in ``dtype``, from states of zeros on; the neurons are reset by a record.

    recorded: the names of the layers that a record has: all that spike, and those whose numbers of spikes it holds. As
    with ``Stepper``, every decision is so judged on the record's own history. Loops are compiled where numba is.
    """

    def __init__(self, program: Program, batch: int, recorded: Collection[str], dtype: type = np.float64) -> None:
        self.program, self.dtype = program, dtype
        self._recorded = frozenset(recorded)
        compiled = dtype in (np.float32, np.float64) and find_spec("numba")
        fused = import_module("simulators.backends.raster.layers") if compiled else None
        self._layers: list[tuple[Layer, Any]] = []
        widest = [math.prod(shape) for shape in program.shapes.values()]
        for layer in program.layers:
            operation = layer.operation.bind(self._cast)
            shapes = program.state_shapes(layer)
            state: State = {name: np.zeros((batch, *shape), dtype) for name, shape in shapes.items()}
            runner: Any
            if layer.name in self._recorded:
                runner = _Neuron(operation, state, fused)
            elif fused and (not state or isinstance(operation, S4D | LeakyIntegrator)):
                runner = fused.running(operation, state, batch, program.is_binary(layer))
            else:
                runner = _Stepped(operation, state)
                widest += [math.prod(shape) for shape in shapes.values()]
            self._layers.append((layer, runner))
        self._previous: dict[str, np.ndarray] = {
            source: np.zeros((1, batch, *program.shapes[source]), dtype) for source in program.delayed_sources
        }
        itemsize = np.dtype(dtype).itemsize
        together = max(1, WHOLE // (batch * sum(widest) * itemsize))
        self.steps = 1 if self._feeds_back() else min(execution.piece(batch, max(widest), itemsize), together)
        """The steps that a piece may have: more would leave the cache, or need what isn't there yet."""

    def _feeds_back(self) -> bool:
        """Whether a layer reads what, unrecorded, is computed after it."""
        behind: set[str] = {layer.name for layer in self.program.layers} - self._recorded
        for layer in self.program.layers:
            if behind & {*layer.delayed}:
                return True
            behind.discard(layer.name)
        return False

    def pieces(self, x: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Iterator[Piece]:
        """All steps of x (T, B, *input_shape), as ``run`` takes them."""
        for start in range(0, len(x), self.steps):
            steps = slice(start, start + self.steps)
            yield self.run(x[steps], {name: spikes[name][steps] for name in self._recorded})

    def run(self, x: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Piece:
        """The next steps. x: (T, B, *input_shape), T <= ``steps``; spikes: layer -> (T, B, *shape), of any dtype."""
        streams: dict[str, np.ndarray] = {
            name: np.ascontiguousarray(spikes[name], self.dtype) for name in self._recorded
        }
        streams[INPUT] = np.ascontiguousarray(x, self.dtype)
        piece = Piece({}, streams, {}, {}, {}, {})
        for layer, runner in self._layers:
            name = layer.name
            entering = piece.entering[name] = self._gather(layer, streams)
            piece.began[name] = runner.state
            if name in self._recorded:
                piece.potentials[name] = runner(entering, streams[name])
            else:
                streams[name] = runner(entering)
            if isinstance(runner, _Neuron | _Stepped):
                piece.found[name] = runner.found
            piece.ended[name] = runner.state
        self._previous = {source: streams[source][-1:] for source in self._previous}
        return piece

    def _gather(self, layer: Layer, streams: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [streams[source] for source in layer.inputs]
        for source in layer.delayed:  # what isn't there yet is not needed: the piece has one step
            now = streams[source][:-1] if source in streams else self._previous[source][:0]
            parts.append(np.concatenate([self._previous[source], now]))
        entering = parts[0]
        for part in parts[1:]:
            entering = entering + part
        return entering

    def check_finite(self) -> None:
        """Raise BadInput naming the layer whose state overflowed: a neuron would turn NaN into silence."""
        for layer, runner in self._layers:
            for variable, value in runner.state.items():
                if not np.isfinite(value).all():
                    raise BadInput(layer.name, f"state {variable!r} is no longer finite: the run overflowed")

    def _cast(self, array: np.ndarray) -> Array:
        return array.astype(self.dtype)


class _Stepped:
    """A layer step by step, ``found`` the states that its last steps found."""

    def __init__(self, operation: Operation, state: State) -> None:
        self.operation, self.state = operation, state
        self.found: State = {}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if not self.state:
            return np.asarray(self.operation.over(np, {}, x)[1])
        found, outputs = [], []
        for row in x:
            found.append(self.state)
            self.state, y = self.operation.step(np, self.state, row)
            outputs.append(y)
        self.found = _stacked(found)
        return np.stack(outputs)


class _Neuron:
    """A neuron that a record resets: x, spikes (T, B, *shape) -> u' (T, B, *shape); ``found`` as there."""

    def __init__(self, operation: Operation, state: State, fused: ModuleType | None) -> None:
        self.operation, self.state = operation, state
        self.found: State = {}
        self._over: Any = fused.clamped if fused and type(operation) in fused.NEURONS else stepped

    def __call__(self, x: np.ndarray, spikes: np.ndarray) -> np.ndarray:
        potential: np.ndarray
        self.state, potential, self.found = self._over(self.operation, self.state, x, spikes)
        return potential


def stepped(operation: Any, state: State, x: np.ndarray, spikes: np.ndarray) -> tuple[State, np.ndarray, State]:
    """A neuron of any kind, bound to the dtype of x, over x while ``spikes`` reset it, (T, B, *shape) each.

    Returns the next state; u' (T, B, *shape); and the state that every step found, (T, B, *shape) each.
    """
    found, potentials = [], []
    for row, sent in zip(x, spikes, strict=True):
        found.append(state)
        potentials.append(operation.integrate(np, state, row))
        state = operation.reset(np, state, potentials[-1], sent)
    return state, np.stack(potentials), _stacked(found)


def _stacked(states: list[State]) -> State:
    return {name: np.stack([state[name] for state in states]) for name in states[0]}
