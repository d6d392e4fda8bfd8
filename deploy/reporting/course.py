"""How differences spread over steps and layers, and how long it takes until two runs agree again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deploy.verification.differences import Listed

BINS = 98
"""Into how many pieces of equal length the steps are cut, at most."""
QUIET = 8
"""Steps without any difference after which two runs of a sample agree again."""


def edges(steps: int) -> np.ndarray:
    """The first step of each piece, and behind the last one the number of steps: (pieces + 1,)."""
    width = -(-steps // BINS)
    return np.append(np.arange(0, steps, width), steps)


def by_step(listed: Mapping[str, Listed], steps: int) -> dict[str, np.ndarray]:
    """Layer -> the number of differences in each piece of the steps, over all samples."""
    return {layer: np.histogram(one.step, edges(steps))[0] for layer, one in listed.items()}


def over_steps(counts: np.ndarray) -> np.ndarray:
    """The sums of (B, T) counts over the samples, and over each piece of the steps."""
    return np.add.reduceat(counts.sum(axis=0), edges(counts.shape[1])[:-1])


def episodes(listed: Mapping[str, Listed], steps: int) -> tuple[np.ndarray, int]:
    """How many steps each stretch of differences lasts, over all layers of a sample, until ``QUIET`` steps have none.

    Returns the lengths (n,) of all stretches, and how many of them were still going on at the end of the input.
    """
    places = [np.stack([one.sample, one.step]).astype(np.int64) for one in listed.values()]
    found = np.unique(np.concatenate(places, axis=1), axis=1) if places else np.empty((2, 0), np.int64)
    if not found.size:
        return np.empty(0, np.int64), 0
    sample, step = found
    starts = np.append(True, (np.diff(sample) != 0) | (np.diff(step) > QUIET))
    ends = np.append(starts[1:], True)
    return step[ends] - step[starts] + 1, int(np.count_nonzero(step[ends] + QUIET >= steps))
