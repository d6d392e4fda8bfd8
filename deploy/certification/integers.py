"""Programs of whole numbers: what no backend can do otherwise, and from where on a lost value lets it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deploy.certification.arithmetics import INTEGERS
from deploy.certification.margins import Margins, margins
from deploy.certification.past import reached_by
from simulators.shards import Over
from spikestrip.errors import Refused
from spikestrip.ledger import SATURATIONS, Events
from spikestrip.operations import FixedInput, FixedOperation, SpikingOperation
from spikestrip.program import Program


def holds_integers(program: Program) -> bool:
    """Whether a layer of ``program`` computes in whole numbers by its definition."""
    return any(isinstance(layer.operation, FixedOperation) for layer in program.layers)


def margins_of_integers(
    program: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray], events: Events, over: Over = map
) -> dict[str, Margins]:
    """Spiking layer -> margins of a run in whole numbers, whose bound is 0; listed is what follows a lost value.

    Raises Refused naming a layer whose values aren't whole numbers.
    """
    shapes: dict[str, tuple[int, int, int]] = {name: train.shape for name, train in spikes.items()}
    found = margins(program, x, spikes, INTEGERS, lost_from(program, events, shapes), over)
    for name, one in found.items():
        if one.largest_bound:
            raise Refused(f"layer {name}", "values that aren't whole numbers lead to it; --dtype float64 bounds them")
    return found


def lost_from(program: Program, events: Events, shapes: Mapping[str, tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """Spiking layer -> (B,), the step from which a sum or message that left its width leads to it; T where none does.

    A sum beyond 32 bits wraps in stock Lava and in a program's definition; a chip's may stop at its end, and a message
    beyond 24 bits may be cut. What a neuron does with its
    own membrane (clip, wrap), and the clip of the entry, are part of their definition: every backend does the same.
    """
    found = {name: np.full(shape[0], shape[1]) for name, shape in shapes.items()}
    for layer in program.layers:
        operation = layer.operation
        defined = isinstance(operation, SpikingOperation | FixedInput) or not isinstance(operation, FixedOperation)
        if defined or not events[layer.name][SATURATIONS].any():
            continue
        lost = events[layer.name][SATURATIONS] > 0
        first = np.where(lost.any(axis=1), lost.argmax(axis=1), lost.shape[1])
        for name in reached_by(program, layer.name, set(shapes)):
            found[name] = np.minimum(found[name], first)
    return found
