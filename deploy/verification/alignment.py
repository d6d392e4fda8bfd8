"""Two faults of a whole trace: it answers late or early, or in another order of samples.

Both are found from the spikes alone, by what makes the two sides most alike, and believed only when undoing them
explains the trace (``judge`` replays it).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from deploy.verification.differing import Compared
from spikestrip.execution import parts
from spikestrip.rows import Rows

Spikes = Mapping[str, np.ndarray]
SEARCHED = 1 << 20  # spikes that are compared at once
COMPARED = 1024  # samples among which the most alike are looked for
LONGEST = 1024


def distance(a: Spikes, b: Spikes) -> int:
    """Number of spikes that differ."""
    shapes = [train.shape for train in a.values()]
    samples = parts(shapes[0][0], sum(math.prod(shape[1:]) for shape in shapes))
    return sum(int(np.count_nonzero(a[name][rows] != b[name][rows])) for rows in samples for name in a)


def find_delays(late: Spikes, reference: Spikes, compared: Mapping[str, Compared]) -> dict[str, int] | None:
    """Steps by which each layer of ``late`` trails ``reference`` (negative: leads); None if no shift explains half.

    Layers may trail by different amounts, as in a pipeline; a layer that is most alike unshifted gets 0.
    """
    delays = {name: _delay(late[name], reference[name], compared[name]) for name in late}
    if not any(delays.values()):
        return None
    before = sum(layer.keys.size for layer in compared.values())
    after = distance(undo_delays(late, reference, delays), reference)
    return delays if after * 2 < before else None


def _delay(late: np.ndarray, reference: np.ndarray, compared: Compared) -> int:
    steps = late.shape[1]
    rows = max(1, SEARCHED // max(1, math.prod(late.shape[1:])))
    differing = np.unique(compared.samples)[:rows]
    late, reference = late[differing], reference[differing]
    best, fewest = 0, np.count_nonzero(late != reference) / steps
    for size in range(1, min(steps // 2, LONGEST) + 1):
        for delay in (size, -size):
            a, b = (late[:, size:], reference[:, :-size]) if delay > 0 else (late[:, :-size], reference[:, size:])
            wrong = np.count_nonzero(a != b) / (steps - size)  # a rate: a longer shift compares fewer steps
            if wrong < fewest and a.any():
                best, fewest = delay, wrong
        if best and fewest == 0:
            break
    return best


def undo_delays(late: Spikes, reference: Spikes, delays: Mapping[str, int]) -> dict[str, Any]:
    """``late`` shifted back, when it is looked at; the steps that the shift leaves open are ``reference``'s."""

    def shifted(name: str, samples: slice) -> np.ndarray:
        size, train = delays[name], late[name][samples]
        back = reference[name][samples].copy() if size else train
        if size > 0:
            back[:, :-size] = train[:, size:]
        elif size < 0:
            back[:, -size:] = train[:, :size]
        return back

    return {name: Rows(train.shape, train.dtype, partial(shifted, name)) for name, train in late.items()}


def undo_order(mixed: Spikes, order: np.ndarray) -> dict[str, Any]:
    """``mixed`` with the sample order[i] at i, when it is looked at."""

    def sorted_back(name: str, samples: slice) -> np.ndarray:
        return mixed[name][order[samples]]

    return {name: Rows(train.shape, train.dtype, partial(sorted_back, name)) for name, train in mixed.items()}


def find_order(mixed: Spikes, reference: Spikes, compared: Mapping[str, Compared]) -> np.ndarray | None:
    """The order of ``mixed``'s samples that is most alike to ``reference``; None if none halves what differs.

    order[i] is the sample of ``mixed`` that belongs at i; samples that are equal already stay. Among more than
    COMPARED samples only an order that leaves no spike different is found.
    """
    if not compared:
        return None
    batch = next(iter(mixed.values())).shape[0]
    apart = sum((np.bincount(layer.samples, minlength=batch) for layer in compared.values()), np.zeros(batch, np.int64))
    moved = np.flatnonzero(apart)
    if len(moved) < 2:
        return None
    nearest = _equal(mixed, reference, moved) if len(moved) > COMPARED else _nearest(mixed, reference, moved, apart)
    if nearest is None:
        return None
    order = np.arange(batch)
    order[moved] = moved[nearest]
    return order


def _nearest(mixed: Spikes, reference: Spikes, moved: np.ndarray, apart: np.ndarray) -> np.ndarray | None:
    """For each of the moved samples the one of ``mixed`` that is most alike, of ``moved``."""
    distances = np.zeros((len(moved), len(moved)))
    for name, train in mixed.items():
        steps = max(1, SEARCHED // max(1, len(moved) * train.shape[2]))
        for start in range(0, train.shape[1], steps):
            left, right = (
                spikes[moved, start : start + steps].reshape(len(moved), -1).astype(np.float32)
                for spikes in (reference[name], train)
            )
            # |a - b| of 0 and 1; whole numbers below 2^24 are exact in float32
            distances += left.sum(axis=1)[:, None] + right.sum(axis=1) - 2 * (left @ right.T)
    nearest = distances.argmin(axis=1)
    if len(set(nearest)) < len(moved) or distances[np.arange(len(moved)), nearest].sum() * 2 >= apart.sum():
        return None
    return nearest


def _equal(mixed: Spikes, reference: Spikes, moved: np.ndarray) -> np.ndarray | None:
    """For each of the moved samples the one of ``mixed`` with the very same spikes, of ``moved``."""
    ours, theirs = (
        [hashlib.sha256(b"".join(np.packbits(train[int(row)]).tobytes() for train in side.values())).digest()
         for row in moved]
        for side in ({name: mixed[name] for name in reference}, reference)
    )  # fmt: skip
    places: dict[bytes, list[int]] = {}
    for place, digest in enumerate(ours):
        places.setdefault(digest, []).append(place)
    try:
        return np.array([places[digest].pop() for digest in theirs])
    except (KeyError, IndexError):
        return None


def order_sentence(role: str, order: np.ndarray) -> str:
    """What the verdict says about samples in another order."""
    moved = np.flatnonzero(order != np.arange(len(order)))
    shown = ", ".join(f"the one at {order[at]} belongs at {at}" for at in moved[:4])
    return f"samples: {role}: {len(moved)} stand in another order ({shown}{', ...' if len(moved) > 4 else ''})"


def delay_sentence(role: str, delays: Mapping[str, int]) -> str:
    """What the verdict says about a shift in time."""
    shown = ", ".join(f"{name} by {steps}" for name, steps in delays.items())
    return f"delay: {role}: shifted in steps (negative: early): {shown}"
