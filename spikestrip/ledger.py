"""The event ledger: exact counts of what every step did, from program, input and spikes; the only place that counts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spikestrip import execution
from spikestrip.execution import Stepper
from spikestrip.operations import COUNTERS, FixedOperation, State, reached
from spikestrip.program import INPUT, Layer, Program

Events = dict[str, dict[str, np.ndarray]]


SATURATIONS = "saturations"
"""Of a layer of integers: values that left their width (clipped, wrapped, or too wide for a message)."""


def counters(layer: Layer) -> tuple[str, ...]:
    """The counters that ``layer`` has."""
    return (*COUNTERS, SATURATIONS) if isinstance(layer.operation, FixedOperation) else COUNTERS


def count_step(
    program: Program, layer: Layer, entering: np.ndarray, output: np.ndarray | None, before: State | None = None
) -> dict[str, np.ndarray | int]:
    """Every counter of one step of ``layer``, given what entered it and what it sent, each (B, *shape).

    Where the operation's ``counts_values`` is false only the shape of ``entering`` matters. ``output`` is for spikes,
    ``before``, the state that the step found, for saturations.
    """
    counted: dict[str, np.ndarray | int] = dict.fromkeys(COUNTERS, 0)
    counted |= layer.operation.count(entering, program.is_binary(layer))
    if layer.operation.spiking and output is not None:
        counted["spikes"] = reached(output, 1, binary=True)
    if isinstance(layer.operation, FixedOperation) and before is not None:
        counted[SATURATIONS] = layer.operation.exceeded(before, entering)
    return counted


def count(program: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Events:
    """Replay ``program`` on ``x`` with the recorded ``spikes`` and count the events of every sample and step.

    x: (B, T, *input_shape); spikes: layer name -> (B, T, N). Returns layer -> counter -> (B, T) int64:
    spikes         spikes sent
    synaptic_acs   nonzero weights reached by spikes
    effective_macs nonzero weights reached by nonzero graded values
    dense_macs     multiplications that a machine blind to zeros would do for the same synapses
    state_macs     multiplications of SSM and neuron state arithmetic
    state_updates  state variables written
    saturations    of operations on integers alone: values that left their width
    """
    batch, steps = x.shape[:2]
    events = empty(program, batch, steps)
    if _folds(program):
        _count_folded(program, x, spikes, events)
        return events
    stepper = Stepper(program, batch, only=_needed(program))
    unread = {layer.name: np.zeros((batch, *program.entering_shape(layer))) for layer in program.layers}
    for t in range(steps):
        replay = {
            name: train[:, t].reshape(batch, *program.shapes[name]).astype(np.float64) for name, train in spikes.items()
        }
        streams = stepper.step(x[:, t].astype(np.float64), replay)
        for layer in program.layers:
            entering = stepper.entering.get(layer.name, unread[layer.name])
            counted = count_step(program, layer, entering, streams.get(layer.name), stepper.started.get(layer.name))
            for counter, value in counted.items():
                events[layer.name][counter][:, t] = value
    return events


def empty(program: Program, batch: int, steps: int) -> Events:
    """Events of which none has been counted."""
    return {
        layer.name: {counter: np.zeros((batch, steps), np.int64) for counter in counters(layer)}
        for layer in program.layers
    }


def count_piece(
    program: Program,
    layer: Layer,
    entering: np.ndarray,
    output: np.ndarray,
    events: Events,
    here: slice,
    found: State | None = None,
) -> None:
    """Write into ``events`` what ``layer`` does in the steps ``here``.

    entering: (steps, B, *shape), float64; (1, 1, *shape) of anything where ``counts_values`` is false.
    output: (steps, B, *shape) of a layer that spikes, in float64; of others anything.
    found: of integers, whose saturations need it, the state that every step found, (steps, B, *shape) each.
    """
    batch = output.shape[1]
    rows, sent = (stream.reshape(-1, *stream.shape[2:]) for stream in (entering, output))
    before = None if found is None else {name: value.reshape(-1, *value.shape[2:]) for name, value in found.items()}
    for counter, value in count_step(program, layer, rows, sent, before).items():
        if np.ndim(value) == 1:
            events[layer.name][counter][:, here] = np.reshape(value, (-1, batch)).T
        elif value:  # 0 is there already
            events[layer.name][counter][:, here] = value


def _folds(program: Program) -> bool:
    """Whether what is counted follows from input and spikes of the same step alone."""
    if any(isinstance(layer.operation, FixedOperation) for layer in program.layers):
        return False
    needed = _needed(program)
    computed = [layer for layer in program.layers if layer.name in needed and not layer.operation.spiking]
    return not any(layer.delayed for layer in program.layers) and not any(map(program.state_shapes, computed))


def _count_folded(program: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray], events: Events) -> None:
    """Count piece by piece of the raster, all steps of a piece at once; streams are time first, (T, B, *shape)."""
    batch, steps = x.shape[:2]
    needed = _needed(program)
    widest = max(math.prod(shape) for shape in program.shapes.values())
    piece = execution.piece(batch, widest, 8)
    for start in range(0, steps, piece):
        here = slice(start, min(start + piece, steps))
        streams = {
            name: train[:, here].swapaxes(0, 1).reshape(-1, batch, *program.shapes[name]).astype(np.float64)
            for name, train in {INPUT: x, **spikes}.items()
        }
        for layer in program.layers:
            entering = np.zeros((1, 1, *program.entering_shape(layer)))
            if layer.name in needed:
                entering = streams[layer.inputs[0]]
                for source in layer.inputs[1:]:
                    entering = entering + streams[source]
                if not layer.operation.spiking:
                    _, streams[layer.name] = layer.operation.bind(_float64).over(np, {}, entering)
            count_piece(program, layer, entering, streams.get(layer.name, entering), events, here)


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _needed(program: Program) -> set[str]:
    """The layers to replay: those whose counts depend on what enters, and the graded layers that it comes from."""
    layers = {layer.name: layer for layer in program.layers}
    needed: set[str] = set()
    waiting = [name for name, layer in layers.items() if layer.operation.counts_values]
    while waiting:
        layer = layers[waiting.pop()]
        if layer.name not in needed:
            needed.add(layer.name)
            sources = (source for source in (*layer.inputs, *layer.delayed) if source in layers)
            waiting += [source for source in sources if not layers[source].operation.spiking]
    return needed
