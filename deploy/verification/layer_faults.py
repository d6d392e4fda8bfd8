"""Faults of one layer: which other neuron than the program's made these decisions?

Each hypothesis is another neuron fed with what the layer received, clamped to its recorded spikes. It is named when no
decision contradicts it beyond rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from deploy.verification.replay import Deciding, decisions, potentials
from spikestrip.operations import LIF, Array, MultiSpikeIF, RefractoryLIF, State

ENOUGH = 3  # wrong decisions before one changed parameter counts as an explanation of them
CROWD = 16  # and before one speaks of where they lie
FEW = 4  # neurons that are tried one by one


def explain(operation: Deciding, entering: np.ndarray, spikes: np.ndarray, bound: np.ndarray) -> tuple[str, str]:
    """The fault (reset, parameter or unexplained) and a sentence on it.

    entering: (B, T, *shape), spikes: the same, 0 or 1, or how many, bound: (*shape) on the rounding of u'. Some
    decision is wrong.
    """
    if operation.drawn_from() is not None:
        return "unexplained", "the draws of its stream decide otherwise"
    if not spikes.any():
        return "unexplained", "it never fires here, which any high threshold would explain"
    spikes = spikes.astype(entering.dtype)
    for description, other in _resets(operation):
        if not _wrong(other, entering, spikes, bound):
            return "reset", f"every decision follows {description}"
    excess, sends = decisions(operation, entering, spikes)
    margins = np.abs(excess)
    wrong = (sends != spikes) & (margins > bound)
    if np.count_nonzero(wrong) >= ENOUGH and isinstance(operation, LIF | RefractoryLIF):
        for scaled in (_threshold(operation, entering, spikes, bound), _decay(operation, entering, spikes, bound)):
            if scaled:
                return "parameter", scaled
        found = _of_few(operation, entering, spikes, bound, wrong)
        if found:
            return "parameter", found
    near = np.count_nonzero(wrong) >= CROWD and np.mean(margins[wrong] < np.median(margins)) > 0.9
    return "unexplained", "nothing that was tried explains the decisions" + (
        "; they crowd at the threshold" if near else ""
    )


def _of_few(
    operation: Any, entering: np.ndarray, spikes: np.ndarray, bound: np.ndarray, wrong: np.ndarray
) -> str | None:
    """A threshold or a decay of a few neurons alone, each by a number of its own."""
    if entering.ndim != 3:
        return None
    guilty = np.flatnonzero(wrong.any(axis=(0, 1)))
    if not 0 < guilty.size <= FEW:
        return None
    said = []
    for neuron in guilty:
        one = slice(neuron, neuron + 1)
        alone = dataclasses.replace(operation, **{name: array[one] for name, array in operation.arrays().items()})
        parts = alone, entering[..., one], spikes[..., one], bound[one]
        found = _threshold(*parts) or _decay(*parts)
        if found is None:
            return None
        said.append(f"neuron {neuron}: {found}")
    return "; ".join(said)


class _Unreset(LIF):
    """A neuron that fires and keeps its potential."""

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return {"u": potential}


def _otherwise(operation: MultiSpikeIF, left: Callable[..., tuple[Array, Array]]) -> Any:
    """``operation`` with a reset of what ``left`` makes of (xp, u', numbers)."""
    own = type(operation)

    def reset(self: MultiSpikeIF, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return own.reset(self, xp, state, *left(xp, potential, spikes))

    return type(own.__name__, (own,), {"reset": reset})(**vars(operation))


def _resets(operation: Deciding) -> Iterator[tuple[str, Deciding]]:
    if isinstance(operation, LIF):
        hard = operation.reset_kind == "hard"
        yield (
            f"a {'soft' if hard else 'hard'} reset, where the program says {operation.reset_kind}",
            dataclasses.replace(operation, reset_kind="soft" if hard else "hard"),
        )
        if hard and operation.v_reset is not None:
            yield "a reset to zero, where the program says v_reset", dataclasses.replace(operation, v_reset=None)
        yield "no reset at all", _Unreset(**vars(operation))
    elif isinstance(operation, RefractoryLIF):
        says = "soft" if operation.soft else "none"
        yield f"another reset than the program's ({says})", dataclasses.replace(operation, soft=not operation.soft)
    elif isinstance(operation, MultiSpikeIF):
        without = dataclasses.replace(operation, floor=np.full_like(operation.floor, -np.finfo(np.float64).max))
        yield "no floor under the potential", without
        none = "no reset at all", lambda xp, u, sent: (u, xp.zeros_like(sent))
        zero = "a reset to 0", lambda xp, u, sent: (u * (sent == 0), xp.zeros_like(sent))
        one = (
            "one threshold subtracted, however many are sent",
            lambda xp, u, sent: (u, xp.minimum(sent, xp.ones_like(sent))),
        )
        for description, left in (zero, one, none):
            yield description, _otherwise(operation, left)


def _wrong(operation: Deciding, entering: np.ndarray, spikes: np.ndarray, bound: np.ndarray) -> int:
    """Decisions that contradict ``operation`` beyond rounding."""
    excess, sends = decisions(operation, entering, spikes)
    return int(np.count_nonzero((sends != spikes) & (np.abs(excess) > bound)))


def _threshold(operation: Any, entering: np.ndarray, spikes: np.ndarray, bound: np.ndarray) -> str | None:
    """Clamped, u' = p + c*q is linear in the scale c of the threshold: each decision bounds c from one side."""
    first, second = (
        potentials(dataclasses.replace(operation, threshold=operation.threshold * c), entering, spikes) for c in (1, 2)
    )
    q = second - first
    slope = operation.threshold - q
    if not (slope > 0).all():
        return None
    p = first - q
    fired = spikes != 0
    highest = np.min(((p + bound) / slope)[fired], initial=np.inf)
    lowest = np.max(((p - bound) / slope)[~fired], initial=0.0)
    scale = (lowest + highest) / 2 if np.isfinite(highest) else lowest * 1.001
    if lowest > highest or _wrong(
        dataclasses.replace(operation, threshold=operation.threshold * scale), entering, spikes, bound
    ):
        return None
    return f"every decision follows a threshold scaled by {scale:.6g} (by {lowest:.6g} to {highest:.6g})"


def _decay(operation: Any, entering: np.ndarray, spikes: np.ndarray, bound: np.ndarray) -> str | None:
    """Search the scale of the decay with the fewest wrong decisions, ever finer about the best."""

    def wrong(scale: float) -> int:
        return _wrong(dataclasses.replace(operation, decay=operation.decay * scale), entering, spikes, bound)

    largest = float(np.abs(getattr(operation, "decay", 0.0)).max())
    if largest == 0:
        return None
    width = max(2.0, 1 / largest) / 2
    best = width
    for _ in range(8):
        scales = np.linspace(max(best - width, 0), best + width, 25)
        counts = [wrong(scale) for scale in scales]
        fewest = min(counts)
        best = float(np.mean([scale for scale, count in zip(scales, counts, strict=True) if count == fewest]))
        if fewest == 0:
            return f"every decision follows a decay scaled by {best:.6g}"
        width /= 8
    return None
