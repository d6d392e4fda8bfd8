"""Excused decisions must look like rounding: small beside what two arithmetics really differ by, and both ways."""

from __future__ import annotations

import math

import numpy as np

FAR = 8  # times the largest difference that was measured: rounding in another order doesn't go there
BEYOND = 2  # times it: what decisions must be beyond to have a vote on the direction
CHANCE = 1e-6


def systematic(excess: np.ndarray, neurons: np.ndarray, recent: np.ndarray, roundoff: np.ndarray) -> str | None:
    """Why these excused decisions are no rounding, or None.

    excess, neurons: (n,) signed distance of each to firing, and whose it is; recent: (n,) the largest difference
    between two arithmetics on the same history that its neuron had lately; roundoff: (n,) of what it compares.
    """
    distance = np.abs(excess)
    beyond = distance > FAR * recent + roundoff
    if (far := int(np.count_nonzero(beyond))) > 0:
        return (
            f"{far} of {excess.size} excused decisions lie up to {distance[beyond].max():.2g} from the threshold; "
            f"two arithmetics lately differed by {recent[beyond].max():.2g} at most there"
        )
    # one vote a neuron: its own constants may lean one way
    votes = distance > BEYOND * recent + roundoff / 4
    neuron, where = np.unique(neurons[votes], return_inverse=True)
    leaning = np.bincount(where, weights=np.sign(excess[votes]), minlength=neuron.size)
    up, down = int(np.count_nonzero(leaning > 0)), int(np.count_nonzero(leaning < 0))
    if (chance := _one_sided(max(up, down), up + down)) < CHANCE:
        return f"the excused decisions of {max(up, down)} of {up + down} neurons point one way (p = {chance:.1g})"
    return None


def _one_sided(most: int, votes: int) -> float:
    """Chance that so many of fair votes agree, either way."""
    return min(1.0, 2 * sum(math.comb(votes, k) for k in range(most, votes + 1)) / 2**votes)
