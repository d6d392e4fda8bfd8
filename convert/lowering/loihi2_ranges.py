"""What values a float program takes on a calibration set: the largest magnitudes, from which exponents are chosen."""

from __future__ import annotations

import dataclasses

import numpy as np

from spikestrip.execution import Stepper
from spikestrip.operations import S4D, SpikingOperation
from spikestrip.program import INPUT, Program


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Largest magnitudes over samples and steps.

    streams: layer (or input) -> (*shape) of what it sends; entering: of what enters it; modes: S4D -> (N, H), of the
    larger of re and im; membranes: neuron -> name of a state -> (*shape), after the reset.
    """

    streams: dict[str, np.ndarray]
    entering: dict[str, np.ndarray]
    modes: dict[str, np.ndarray]
    membranes: dict[str, dict[str, np.ndarray]]


def measure(program: Program, x: np.ndarray) -> Ranges:
    """Run ``program`` on x (B, T, *input_shape) in float64 and keep the largest magnitudes."""
    stepper = Stepper(program, len(x))
    streams: dict[str, np.ndarray] = {}
    entering: dict[str, np.ndarray] = {}
    modes: dict[str, np.ndarray] = {}
    membranes: dict[str, dict[str, np.ndarray]] = {layer.name: {} for layer in program.spiking}

    def raise_to(table: dict[str, np.ndarray], name: str, values: np.ndarray) -> None:
        most = np.abs(values).max(axis=0)
        table[name] = np.maximum(table[name], most) if name in table else most

    for t in range(x.shape[1]):
        sent = stepper.step(x[:, t].astype(np.float64))
        for name, values in sent.items():
            raise_to(streams, name, values)
        for name, values in stepper.entering.items():
            raise_to(entering, name, values)
        for layer in program.layers:
            if isinstance(layer.operation, S4D):
                state = stepper.state[layer.name]
                raise_to(modes, layer.name, np.maximum(np.abs(state["re"]), np.abs(state["im"])))
            elif isinstance(layer.operation, SpikingOperation):
                for name, values in stepper.state[layer.name].items():
                    raise_to(membranes[layer.name], name, values)
    raise_to(streams, INPUT, x.reshape(-1, *program.input_shape))
    return Ranges(streams, entering, modes, membranes)
