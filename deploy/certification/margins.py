"""The margin of every decision of a run against the rounding of one arithmetic; those within it are listed."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from deploy.certification.arithmetics import ARITHMETICS, UNDERFLOW, check_depth
from deploy.certification.past import dependent_from, independent
from deploy.verification.replay import ROWS, Spikes, replay
from simulators.shards import Over
from spikestrip.errors import Refused
from spikestrip.execution import parts
from spikestrip.program import Program, at_sample

LOWEST, HIGHEST = -80, 40  # powers of two between which margins are told apart


@dataclasses.dataclass
class Margins:
    """Those of one spiking layer. A decision is listed when its margin is within the bound that it has itself.

    shape: (B, T, N); keys: of the listed ones in the flattened spikes, ascending; excess, bounds: theirs; least: the
    smallest |excess| of all, in the arithmetic of the run; largest_bound: of all; histogram: exponent e -> how many
    have 2^(e-1) <= |excess| < 2^e ("zero" those that tie); unconditional: decisions that can't differ, whatever the
    listed ones do.
    """

    shape: tuple[int, int, int]
    keys: np.ndarray
    excess: np.ndarray
    bounds: np.ndarray
    least: float
    largest_bound: float
    histogram: dict[str, int]
    unconditional: int = 0

    @property
    def decisions(self) -> int:
        return math.prod(self.shape)


class Gathered:
    """Gathers the decisions of one layer while the replay makes them."""

    def __init__(self, shape: tuple[int, int, int], floor: float, lost: np.ndarray | None = None) -> None:
        self.shape = shape
        self.floor = floor
        self.lost = np.full(shape[0], shape[1]) if lost is None else lost  # (B,): all from this step on is listed
        self.found: list[tuple[np.ndarray, ...]] = []
        self.least = math.inf
        self.largest = 0.0
        self.counts = np.zeros(HIGHEST - LOWEST + 1, np.int64)
        self.ties = 0

    def add(self, start: int, first: int, excess: np.ndarray, bound: np.ndarray, contradicts: np.ndarray) -> None:
        excess = excess.astype(np.float64)
        bound = np.where(bound > 0, bound + self.floor, 0.0)
        # where nothing rounds every conforming run has these very bits, ties included
        self.gather(start, first, excess, bound, contradicts | ((bound > 0) & ~(np.abs(excess) > bound)))

    def gather(self, start: int, first: int, excess: np.ndarray, bound: np.ndarray, listed: np.ndarray) -> None:
        """The decisions of the steps from ``first`` on of the samples from ``start`` on, (T, b, N) each.

        listed: which could differ.
        """
        margin = np.abs(excess)
        steps, count = margin.shape[:2]
        lost = self.lost[start : start + count] <= np.arange(first, first + steps)[:, None]
        self.least = min(self.least, float(margin.min()))
        self.largest = max(self.largest, float(bound.max()))
        exponents = np.frexp(margin[margin > 0])[1]
        self.counts += np.bincount(np.clip(exponents, LOWEST, HIGHEST) - LOWEST, minlength=self.counts.size)
        self.ties += int(np.count_nonzero(margin == 0))
        t, sample, neuron = at = np.nonzero(listed | lost[:, :, None])
        if t.size:
            keys = ((start + sample) * self.shape[1] + first + t) * self.shape[2] + neuron
            self.found.append((keys, excess[at], bound[at]))

    def merge(self, other: Gathered, first: int) -> None:
        """Take in what was gathered of samples from number ``first`` on."""
        before = first * self.shape[1] * self.shape[2]
        self.found += [(keys + before, *values) for keys, *values in other.found]
        self.least = min(self.least, other.least)
        self.largest = max(self.largest, other.largest)
        self.counts += other.counts
        self.ties += other.ties

    def margins(self) -> Margins:
        nothing = (np.empty(0, np.int64), np.empty(0), np.empty(0))
        keys, excess, bounds = (np.concatenate(column) for column in zip(nothing, *self.found, strict=True))
        order = np.argsort(keys)
        histogram = {"zero": self.ties} if self.ties else {}
        histogram |= {str(LOWEST + int(i)): int(self.counts[i]) for i in np.flatnonzero(self.counts)}
        return Margins(
            self.shape, keys[order], excess[order], bounds[order], self.least, self.largest, histogram
        )  # fmt: skip


def margins(
    program: Program,
    x: np.ndarray,
    spikes: Spikes,
    name: str,
    lost: Mapping[str, np.ndarray] | None = None,
    over: Over = map,
) -> dict[str, Margins]:
    """Spiking layer -> margins of the run of ``program`` on ``x`` that fired ``spikes``, in an arithmetic.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N) uint8; lost: layer -> (B,), the step from which all
    decisions are listed; over: who replays the samples. Raises Refused naming a layer that no bound is known for, and
    BadInput for a run that is too long for the theorems.
    """
    check_depth(program, x.shape[1], name)
    layers = {layer: Gathered(train.shape, UNDERFLOW[ARITHMETICS[name].dtype]) for layer, train in spikes.items()}
    pieces = (
        (
            rows.start,
            np.array(x[rows]),
            {layer: train[rows] for layer, train in spikes.items()},
            None if lost is None else {layer: since[rows] for layer, since in lost.items()},
        )
        for rows in parts(len(x), 1, ROWS)
    )
    for first, gathered in over(functools.partial(_gathered, program, name), pieces):
        for layer, part in gathered.items():
            layers[layer].merge(part, first)
    return finished(program, layers)


def finished(program: Program, layers: Mapping[str, Gathered]) -> dict[str, Margins]:
    """Layer -> what was gathered of it, and how many of its decisions have nothing listed in their past."""
    found = {layer: gathered.margins() for layer, gathered in layers.items()}
    since = dependent_from(
        program, {layer: one.keys for layer, one in found.items()}, {layer: one.shape for layer, one in found.items()}
    )
    for layer, one in found.items():
        listed = np.count_nonzero(independent(one.keys, since[layer], one.shape))
        one.unconditional = int(since[layer].sum() - listed)
    return found


Piece = tuple[int, np.ndarray, Spikes, Mapping[str, np.ndarray] | None]
"""The number of the first sample; input, spikes and ``lost`` of these samples alone."""


def _gathered(program: Program, name: str, piece: Piece) -> tuple[int, dict[str, Gathered]]:
    """What the decisions of some samples are, their positions counted from the first, whose number is said too."""
    first, x, spikes, lost = piece
    covered = ARITHMETICS[name]
    floor = UNDERFLOW[covered.dtype]
    layers = {
        layer: Gathered(train.shape, floor, None if lost is None else lost[layer]) for layer, train in spikes.items()
    }

    def seen(
        layer: str, start: int, step: int, excess: np.ndarray, bound: np.ndarray | None, contradicts: np.ndarray
    ) -> None:
        if bound is None or not np.isfinite(bound).all():
            raise Refused(
                layer, f"no rounding bound in {name} is known on the way to it: nothing can be certified there"
            )
        layers[layer].add(start, step, excess, bound, contradicts)

    with threadpool_limits(1), np.errstate(all="ignore"):
        nothing = dict.fromkeys(spikes, np.zeros(0, np.int64))
        replay(at_sample(program, first), x, spikes, nothing, arithmetic=covered.arithmetic, seen=seen)
    return first, layers
