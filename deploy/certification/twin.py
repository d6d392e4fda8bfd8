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

from deploy.certification.floors import REALS, UNIT, Radii
from deploy.certification.integers import lost_from
from deploy.certification.margins import Gathered, Margins, finished
from deploy.verification import replay
from deploy.verification.replay import ROWS
from spikestrip import inputs, ledger
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import FixedIF, FixedLIF, FixedProgrammedLIF, MultiSpikeIF, Operation
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
    shapes = [
        {layer.name: each.shapes[layer.name] for layer in (*each.spiking, *each.counting)} for each in (program, twin)
    ]
    if program.input_shape != twin.input_shape or shapes[0] != shapes[1]:
        raise BadInput("--twin", "has other inputs or spiking layers than the program whose integers it should be")
    if {layer.name for layer in program.counting} != {layer.name for layer in twin.counting}:
        raise BadInput("--twin", "sends several spikes in a step where the program sends one, or one where it doesn't")
    for layer in twin.spiking:
        if not isinstance(layer.operation, FixedLIF | FixedProgrammedLIF | FixedIF):
            raise Refused(f"layer {layer.name} ({layer.operation.kind})", "is no neuron of integers")


def margins_of_twin(
    program: Program, twin: Program, x: np.ndarray, spikes: Mapping[str, np.ndarray]
) -> tuple[dict[str, Margins], dict[str, Apart]]:
    """Margins of the float run that fired ``spikes``, those listed that ``twin`` decides otherwise, and the distances.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N) uint8, or int32 numbers of spikes. ``excess`` and
    ``bounds`` are in the float program's units. Raises Refused naming a layer of ``twin`` for which no bound is known.
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
    count = len(fired)
    lost = np.broadcast_to((gathered.lost[start : start + count] <= t)[:, None], (count, fired[0].size))
    mine, exact, real = (
        _above(operation, stepper, name).reshape(count, -1)
        for operation, stepper in zip(operations, steppers, strict=True)
    )
    sent, radius = fired.reshape(count, -1), radius.reshape(count, -1)
    level, unit = (np.broadcast_to(threshold(each), fired.shape[1:]).reshape(-1) for each in operations[:2])
    scale = level / unit
    off = ~(np.abs(exact - real) <= radius) | ~np.isfinite(radius)
    if (off & ~lost).any():  # no rule for a layer, or sums that the real numbers carry beyond where integers wrap
        raise Refused(f"layer {name}", "no bound is known for the integers on the way to it")
    rounded = 4 * UNIT * (np.abs(real * scale) + np.abs(mine) + level * (sent + 1))  # of this comparison, in float64
    bound = np.abs(real * scale - mine) + radius * scale + rounded
    bound = np.where(off, np.abs(exact * scale - mine), bound)  # after a lost value: what it is, and nothing proven
    most = sent if isinstance(operations[1], MultiSpikeIF) else np.where(sent != 0, np.inf, 0)
    # at or above the edge of the spikes that it sent, and below that of one more, if it can send more
    settled = ((sent == 0) | (real - radius >= unit * (sent - 1))) & (real + radius < unit * most) & ~lost
    distance = np.abs(exact * scale - mine) / level
    state, potential = steppers[0].before[name], steppers[0].potentials[name]
    excess = replay.excess(operations[0], state, potential, fired).reshape(count, -1)
    decided = replay.decided(operations[1], steppers[1].before[name], steppers[1].potentials[name])
    apart.largest = max(apart.largest, float(distance.max()))
    apart.bound = max(apart.bound, float((bound / level).max()))
    apart.within += int(np.count_nonzero(~settled))
    apart.squares += float((distance**2).sum())
    listed = np.asarray(decided).reshape(count, -1) != sent
    gathered.gather(start, t, excess[None], bound[None], listed[None])


def _above(operation: Any, stepper: Stepper, name: str) -> np.ndarray:
    """How far u' is above what it must reach for one spike, in its own units."""
    if isinstance(operation, MultiSpikeIF):
        return np.asarray(stepper.potentials[name] - operation.threshold)
    return np.asarray(operation.excess(np, stepper.before[name], stepper.potentials[name]))


def threshold(operation: Operation) -> np.ndarray:
    """What a membrane must reach, in its own units, for each neuron; Raises Refused for a neuron that has none."""
    if isinstance(operation, FixedLIF | FixedProgrammedLIF):
        return np.asarray(operation.vth * 2.0**ALIGN)
    found = getattr(operation, "threshold", None)
    if found is None:
        raise Refused(operation.kind, "has no threshold to measure distances in")
    return np.abs(np.asarray(found, np.float64))
