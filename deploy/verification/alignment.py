"""Two faults of a whole trace: it answers late or early, or in another order of samples.

Both are found from the spikes alone, by what makes the two sides most alike, and believed only when undoing them
explains the trace (``judge`` replays it).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Spikes = Mapping[str, np.ndarray]
SEARCHED = 1 << 20  # spikes that are compared at each candidate delay
LONGEST = 1024


def distance(a: Spikes, b: Spikes) -> int:
    """Number of spikes that differ."""
    return sum(int(np.count_nonzero(a[name] != b[name])) for name in a)


def find_delays(late: Spikes, reference: Spikes) -> dict[str, int] | None:
    """Steps by which each layer of ``late`` trails ``reference`` (negative: leads); None if no shift explains half.

    Layers may trail by different amounts, as in a pipeline; a layer that is most alike unshifted gets 0.
    """
    delays = {name: _delay(late[name], reference[name]) for name in late}
    if not any(delays.values()):
        return None
    before, after = distance(late, reference), distance(undo_delays(late, reference, delays), reference)
    return delays if after * 2 < before else None


def _delay(late: np.ndarray, reference: np.ndarray) -> int:
    steps = late.shape[1]
    rows = max(1, SEARCHED // max(1, late[0].size))
    differing = np.flatnonzero((late != reference).any(axis=(1, 2)))[:rows]
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


def undo_delays(late: Spikes, reference: Spikes, delays: Mapping[str, int]) -> dict[str, np.ndarray]:
    """``late`` shifted back; the steps that the shift leaves open are filled from ``reference``."""
    shifted = {}
    for name, train in late.items():
        back = reference[name].copy()
        size = abs(delays[name])
        if delays[name] > 0:
            back[:, :-size] = train[:, size:]
        elif delays[name] < 0:
            back[:, size:] = train[:, :-size]
        else:
            back = train
        shifted[name] = back
    return shifted


def find_order(mixed: Spikes, reference: Spikes) -> np.ndarray | None:
    """The order of ``mixed``'s samples that is most alike to ``reference``; None if none halves what differs.

    order[i] is the sample of ``mixed`` that belongs at i; samples that are equal already stay.
    """
    apart = np.zeros(len(next(iter(mixed.values()))), np.int64)
    for name, train in mixed.items():
        apart += np.count_nonzero(train != reference[name], axis=(1, 2))
    moved = np.flatnonzero(apart)
    if len(moved) < 2:
        return None
    distances = np.zeros((len(moved), len(moved)))
    for name, train in mixed.items():
        a, b = (spikes[moved].reshape(len(moved), -1) for spikes in (reference[name], train))
        for start in range(0, a.shape[1], SEARCHED):
            left, right = (part[:, start : start + SEARCHED].astype(np.float32) for part in (a, b))
            # |a - b| of 0 and 1; whole numbers below 2^24 are exact in float32
            distances += left.sum(axis=1)[:, None] + right.sum(axis=1) - 2 * (left @ right.T)
    nearest = distances.argmin(axis=1)
    if len(set(nearest)) < len(moved) or distances[np.arange(len(moved)), nearest].sum() * 2 >= apart.sum():
        return None
    order = np.arange(len(apart))
    order[moved] = moved[nearest]
    return order


def order_sentence(role: str, order: np.ndarray) -> str:
    """What the verdict says about samples in another order."""
    moved = np.flatnonzero(order != np.arange(len(order)))
    shown = ", ".join(f"the one at {order[at]} belongs at {at}" for at in moved[:4])
    return f"samples: {role}: {len(moved)} stand in another order ({shown}{', ...' if len(moved) > 4 else ''})"


def delay_sentence(role: str, delays: Mapping[str, int]) -> str:
    """What the verdict says about a shift in time."""
    shown = ", ".join(f"{name} by {steps}" for name, steps in delays.items())
    return f"delay: {role}: shifted in steps (negative: early): {shown}"
