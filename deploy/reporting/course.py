"""How differences spread over steps and layers, and how long it takes until a neuron agrees again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deploy.verification.differences import Listed

BINS = 98
"""Into how many pieces of equal length the steps are cut, at most."""
QUIET = 8
"""Steps without a difference after which a neuron agrees again."""


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


def stretches(listed: Mapping[str, Listed], steps: int) -> tuple[np.ndarray, int]:
    """How many steps a neuron goes on to differ, in one sample, until it hasn't for ``QUIET`` steps.

    Returns the lengths (n,) of all such stretches, and how many of them were still going on at the end of the input.
    """
    lengths, unended = [np.empty(0, np.int64)], 0
    for one in listed.values():
        sample, neuron, step = (values.astype(np.int64) for values in (one.sample, one.neuron, one.step))
        order = np.lexsort((step, neuron, sample))
        sample, neuron, step = sample[order], neuron[order], step[order]
        starts = np.ones(step.size, bool)
        starts[1:] = (np.diff(sample) != 0) | (np.diff(neuron) != 0) | (np.diff(step) > QUIET)
        ends = np.append(starts[1:], True)[: step.size]
        lengths.append(step[ends] - step[starts] + 1)
        unended += int(np.count_nonzero(step[ends] + QUIET >= steps))
    return np.concatenate(lengths), unended
