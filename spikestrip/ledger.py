"""The event ledger: exact counts of what every step did, from program, input and spikes; the only place that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spikestrip.execution import Stepper
from spikestrip.operations import COUNTERS
from spikestrip.program import Layer, Program

Events = dict[str, dict[str, np.ndarray]]


def count_step(program: Program, layer: Layer, entering: np.ndarray, output: np.ndarray) -> dict[str, np.ndarray | int]:
    """Every counter of one step of ``layer``, given what entered it and what it sent, each (B, *shape)."""
    counted: dict[str, np.ndarray | int] = dict.fromkeys(COUNTERS, 0)
    counted |= layer.operation.count(entering, program.is_binary(layer))
    if layer.operation.spiking:
        counted["spikes"] = np.count_nonzero(output.reshape(output.shape[0], -1), axis=1)
    return counted


def concatenate(parts: Sequence[Events]) -> Events:
    """The events of all samples from those of parts of a batch."""
    return {
        layer: {counter: np.concatenate([part[layer][counter] for part in parts]) for counter in counters}
        for layer, counters in parts[0].items()
    }


def count(program: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Events:
    """Replay ``program`` on ``x`` with the recorded ``spikes`` and count the events of every sample and step.

    x: (B, T, *input_shape); spikes: layer name -> (B, T, N). Returns layer -> counter -> (B, T) int64:
    spikes         spikes sent
    synaptic_acs   nonzero weights reached by spikes
    effective_macs nonzero weights reached by nonzero graded values
    dense_macs     multiplications that a machine blind to zeros would do for the same synapses
    state_macs     multiplications of SSM and neuron state arithmetic
    state_updates  state variables written
    """
    batch, steps = x.shape[:2]
    events: Events = {
        layer.name: {counter: np.zeros((batch, steps), np.int64) for counter in COUNTERS} for layer in program.layers
    }
    stepper = Stepper(program, batch)
    for t in range(steps):
        replay = {
            name: train[:, t].reshape(batch, *program.shapes[name]).astype(np.float64) for name, train in spikes.items()
        }
        streams = stepper.step(x[:, t].astype(np.float64), replay)
        for layer in program.layers:
            step = count_step(program, layer, stepper.entering[layer.name], streams[layer.name])
            for counter, value in step.items():
                events[layer.name][counter][:, t] = value
    return events
