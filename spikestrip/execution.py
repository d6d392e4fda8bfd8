"""One step of a whole program: gather what enters each layer, call its operation, keep its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from types import ModuleType

import numpy as np
from threadpoolctl import ThreadpoolController

from spikestrip.errors import BadInput
from spikestrip.operations import Array, MultiSpikeIF, SpikingOperation, State
from spikestrip.program import INPUT, Layer, Program

PART_BYTES = 64 << 20
PIECE = 1 << 20  # bytes of the widest stream in one piece of a raster: larger ones leave the cache


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks at every library that is loaded, which takes longer than some runs


def one_thread() -> AbstractContextManager[object]:
    """Matrix products by one thread: one step's is small, and a second thread costs more than it gives."""
    limited: AbstractContextManager[object] = _libraries().limit(limits=1)
    return limited


def parts(samples: int, sample_bytes: int, limit: int | None = None, most: int | None = None) -> Iterator[slice]:
    """Slices of a batch, each of at most ``limit`` bytes and ``most`` samples, and of one sample at least.

    Samples never see one another, so whoever folds over the parts needs memory for one of them.
    """
    room = PART_BYTES if limit is None else limit
    size = max(1, min(room // max(1, sample_bytes), samples if most is None else most))
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def piece(batch: int, widest: int, itemsize: int) -> int:
    """How many steps to take at once, where ``widest`` numbers a sample and step is the most that a stream has."""
    return max(1, PIECE // (batch * widest * itemsize))


class Stepper:
    """Runs ``program`` step by step on arrays of ``xp`` (numpy, or array_api_compat.torch).

    ``convert`` turns a numpy array into one of ``xp``, in the dtype and on the device of the run.
    ``replay`` (layer name -> recorded spikes of this step, (B, *shape)) takes the place of what a layer fires:
    its reset follows the record, so that every decision is judged on the record's own history. A layer that sends
    several spikes in a step follows its record, of their numbers, if there is one.
    ``only``: the names of the layers to run, of which what they read is the rest's record or the input.
    """

    def __init__(
        self,
        program: Program,
        batch: int,
        xp: ModuleType = np,
        convert: Callable[[np.ndarray], Array] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        if convert is None:
            convert = _float64
        self.program = program
        self.xp = xp
        layers = [layer for layer in program.layers if only is None or layer.name in only]
        self._bound = [(layer, layer.operation.bind(convert)) for layer in layers]
        self.state: dict[str, State] = {
            layer.name: {
                name: convert(np.zeros((batch, *shape))) for name, shape in program.state_shapes(layer).items()
            }
            for layer in layers
        }
        self._previous: dict[str, Array] = {
            source: convert(np.zeros((batch, *program.shapes[source]))) for source in program.delayed_sources
        }

    def step(self, x: Array, replay: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Input (B, *input_shape) of one step -> the output of every layer by name."""
        streams: dict[str, Array] = {INPUT: x, **(replay or {})}
        self.entering: dict[str, Array] = {}
        self.potentials: dict[str, Array] = {}
        self.before: dict[str, State] = {}  # of the neurons whose spikes are replayed, as they decided
        self.started = dict(self.state)  # of every layer, as this step found it
        for layer, operation in self._bound:
            entering = self._gather(layer, streams)
            self.entering[layer.name] = entering
            state = self.state[layer.name]
            if replay is not None and (
                isinstance(operation, SpikingOperation)
                or (isinstance(operation, MultiSpikeIF) and layer.name in replay)
            ):
                potential = operation.integrate(self.xp, state, entering)
                self.potentials[layer.name], self.before[layer.name] = potential, state
                output = streams[layer.name]
                state = operation.reset(self.xp, state, potential, output)
            else:
                state, output = operation.step(self.xp, state, entering)
            self.state[layer.name] = state
            streams[layer.name] = output
        self._previous = {source: streams[source] for source in self._previous if source in streams}
        return streams

    def _gather(self, layer: Layer, streams: Mapping[str, Array]) -> Array:
        entering = None
        for source in layer.inputs:
            entering = streams[source] if entering is None else entering + streams[source]
        for source in layer.delayed:
            entering = self._previous[source] if entering is None else entering + self._previous[source]
        return entering

    def check_finite(self) -> None:
        """Raise BadInput naming the layer whose state overflowed: a neuron would turn NaN into silence."""
        for name, state in self.state.items():
            for variable, value in state.items():
                if not bool(self.xp.all(self.xp.isfinite(value))):
                    raise BadInput(name, f"state {variable!r} is no longer finite: the run overflowed")


def run(
    program: Program,
    x: np.ndarray,
    xp: ModuleType,
    convert: Callable[[np.ndarray], Array],
    to_numpy: Callable[[Array], np.ndarray],
    progress: Callable[[int], object],
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run ``program`` on x (B, T, *input_shape), T >= 1, with arrays made by ``convert`` and read back by ``to_numpy``.

    Returns the output layer's stream (B, T, *shape), the spikes (B, T, N) uint8 of every spiking layer, and how many
    each neuron sent, (B, T, N) int32, of every layer that sends several in a step.
    Raises BadInput naming the layer whose state overflowed.
    """
    batch, steps = x.shape[:2]
    stepper = Stepper(program, batch, xp, convert)
    inputs = convert(np.ascontiguousarray(x.swapaxes(0, 1)))  # a product's rounding may depend on where rows lie
    spikes = {
        layer.name: np.empty((batch, steps, math.prod(program.shapes[layer.name])), np.uint8)
        for layer in program.spiking
    }
    numbers = {
        layer.name: np.empty((batch, steps, math.prod(program.shapes[layer.name])), np.int32)
        for layer in program.counting
    }
    output: list[np.ndarray] = []
    with one_thread():
        for t in range(steps):
            streams = stepper.step(inputs[t])
            for name, train in (spikes | numbers).items():
                train[:, t] = to_numpy(streams[name]).reshape(batch, -1)
            output.append(to_numpy(streams[program.output]))
            progress(1)
    stepper.check_finite()
    return np.stack(output, axis=1), spikes, numbers


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)
