"""Excused decisions must look like rounding: small beside what two arithmetics really differ by, and both ways."""

from __future__ import annotations

import math

import numpy as np

FAR = 8  # times the largest difference that was measured: rounding in another order doesn't go there
BEYOND = 2  # times it: what decisions must be beyond to have a vote on the direction
CHANCE = 1e-6


def systematic(
    excess: np.ndarray, neurons: np.ndarray, measured: float, roundoff: float, bound: np.ndarray, share: float
) -> str | None:
    """Why these excused decisions are no rounding, or None.

    excess, neurons: (n,) signed distance of each to firing, and whose it is; measured: the largest difference between
    two arithmetics on the same history; roundoff: of the largest potential; bound: (n,) on the rounding of each;
    share: the largest share of its bound that a difference between two arithmetics had anywhere on this history.
    """
    distance = np.abs(excess)
    limit = FAR * measured + roundoff
    if (far := int(np.count_nonzero(distance > limit))) > 0:
        return (
            f"{far} of {excess.size} excused decisions lie up to {distance.max():.2g} from the threshold; "
            f"two arithmetics differ by {measured:.2g} at most on this history"
        )
    taken = distance / bound
    if (far := int(np.count_nonzero((taken > FAR * share) & (distance > roundoff)))) > 0:
        return (
            f"{far} of {excess.size} excused decisions take up to {taken.max():.2g} of their rounding bound; "
            f"two arithmetics differ by {share:.2g} of it at most on this history"
        )
    # one vote a neuron: its own constants may lean one way
    votes = distance > BEYOND * measured + roundoff / 4
    neuron, where = np.unique(neurons[votes], return_inverse=True)
    leaning = np.bincount(where, weights=np.sign(excess[votes]), minlength=neuron.size)
    up, down = int(np.count_nonzero(leaning > 0)), int(np.count_nonzero(leaning < 0))
    if (chance := _one_sided(max(up, down), up + down)) < CHANCE:
        return f"the excused decisions of {max(up, down)} of {up + down} neurons point one way (p = {chance:.1g})"
    return None


def _one_sided(most: int, votes: int) -> float:
    """Chance that so many of fair votes agree, either way."""
    return min(1.0, 2 * sum(math.comb(votes, k) for k in range(most, votes + 1)) / 2**votes)
