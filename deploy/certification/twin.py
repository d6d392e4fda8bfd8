"""A float program and its integers: which spikes quantisation can change, and how far the membranes are apart.

The integers run on the float program's spikes, in whole numbers: exactly what they decide after equal spikes. Beside
them run the same integers as real numbers, with a radius for what their floors take (``floors``): a bound on the
distance that knows the integers' weights, and none of their states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from deploy.certification.floors import REALS, Radii
from deploy.certification.integers import lost_from
from deploy.certification.margins import Gathered, Margins, finished
from deploy.verification.replay import ROWS
from spikestrip import inputs, ledger
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import FixedIF, FixedLIF, FixedProgrammedLIF, SpikingOperation
from spikestrip.operations.fixed.neurons import ALIGN
from spikestrip.program import Program


@dataclasses.dataclass
class Apart:
    """How far a layer's integer membrane is from float's, in thresholds, given equal spikes so far.

    largest: of any decision, as it was; bound: the largest proven bound; within: how many decisions the bound, which
    knows none of the integers' states, leaves open; squares: the sum of the squared distances.
    """

    largest: float = 0.0
    bound: float = 0.0
    within: int = 0
    squares: float = 0.0

    def to_dict(self, decisions: int) -> dict[str, float | int]:
        """What the certificate says of it."""
        root = float(np.sqrt(self.squares / max(decisions, 1)))
        return {"largest": self.largest, "root_mean_square": root, "bound": self.bound, "within_bound": self.within}


def check_twin(program: Program, twin: Program) -> None:
    """Raise BadInput, or Refused naming the layer, where ``twin`` doesn't spike as the integers of ``program`` do."""
    shapes = [{layer.name: each.shapes[layer.name] for layer in each.spiking} for each in (program, twin)]
    if program.input_shape != twin.input_shape or shapes[0] != shapes[1]:
        raise BadInput("--twin", "has other inputs or spiking layers than the program whose integers it should be")
    for layer in (*program.counting, *twin.counting):
        raise Refused(f"layer {layer.name} ({layer.operation.kind})", "several spikes a step: no twin is certified yet")
    for layer in twin.spiking:
        if not isinstance(layer.operation, FixedLIF | FixedProgrammedLIF | FixedIF):
            raise Refused(f"layer {layer.name} ({layer.operation.kind})", "is no neuron of integers")


def margins_of_twin(
    program: Program, twin: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray]
) -> tuple[dict[str, Margins], dict[str, Apart]]:
    """Margins of the float run that fired ``spikes``, those listed that ``twin`` decides otherwise, and the distances.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N) uint8. ``excess`` and ``bounds`` are in the float
    program's units. Raises Refused naming a layer of ``twin`` for which no bound is known.
    """
    check_twin(program, twin)
    expanded = inputs.expand(x, program.input_shape)
    shapes: dict[str, tuple[int, int, int]] = {name: train.shape for name, train in spikes.items()}
    lost = lost_from(twin, ledger.count(twin, expanded, spikes), shapes)
    layers, apart = (
        {name: Gathered(shape, 0.0, lost[name]) for name, shape in shapes.items()},
        {name: Apart() for name in shapes},
    )
    with threadpool_limits(1), np.errstate(all="ignore"):
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            part, count = expanded[rows].astype(np.float64), len(x[rows])
            steppers = [Stepper(each, count, xp) for each, xp in ((program, np), (twin, np), (twin, REALS))]
            radii = Radii(twin)
            for t in range(x.shape[1]):
                clamp = {
                    name: train[rows, t].reshape(-1, *program.shapes[name]).astype(np.float64)
                    for name, train in spikes.items()
                }
                streams = [stepper.step(part[:, t], clamp) for stepper in steppers]
                radius = radii.step(steppers[2], streams[2])
                for name, gathered in layers.items():
                    _look(
                        [each[name].operation for each in (program, twin, twin)], steppers, name, radius[name],
                        clamp[name], gathered, start, t, apart[name],
                    )  # fmt: skip
    return finished(program, layers), apart


def _look(
    operations: list[Any], steppers: list[Stepper], name: str, radius: np.ndarray, fired: np.ndarray,
    gathered: Gathered, start: int, t: int, apart: Apart,
) -> None:  # fmt: skip
    """One step of one layer: (float, integers, their reals) -> what is listed, and the distances."""
    if not np.isfinite(radius).all():
        raise Refused(f"layer {name}", "no bound is known for the integers on the way to it")
    count = len(fired)
    excess, exact, real = (
        np.asarray(operation.excess(np, stepper.before[name], stepper.potentials[name])).reshape(count, -1)
        for operation, stepper in zip(operations, steppers, strict=True)
    )
    spiked, radius = fired.reshape(count, -1) != 0, radius.reshape(count, -1)
    level, unit = (np.broadcast_to(threshold(each), fired.shape[1:]).reshape(-1) for each in operations[:2])
    scale = level / unit
    bound = np.abs(real * scale - excess) + radius * scale
    settled = np.where(spiked, real - radius >= 0, real + radius < 0)
    distance = np.abs(exact * scale - excess) / level
    apart.largest = max(apart.largest, float(distance.max()))
    apart.bound = max(apart.bound, float((bound / level).max()))
    apart.within += int(np.count_nonzero(~settled))
    apart.squares += float((distance**2).sum())
    gathered.gather(start, t, excess, bound, (exact >= 0) != spiked)


def threshold(operation: SpikingOperation) -> np.ndarray:
    """What a membrane must reach, in its own units, for each neuron; Raises Refused for a neuron that has none."""
    if isinstance(operation, FixedLIF | FixedProgrammedLIF):
        return np.asarray(operation.vth * 2.0**ALIGN)
    found = getattr(operation, "threshold", None)
    if found is None:
        raise Refused(operation.kind, "has no threshold to measure distances in")
    return np.abs(np.asarray(found, np.float64))
