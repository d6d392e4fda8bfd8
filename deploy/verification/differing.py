"""The two sides spike by spike, part by part of the samples: where they differ, and how much each fired."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np

Spikes = Mapping[str, np.ndarray]


@dataclasses.dataclass
class Compared:
    """One layer. shape: (B, T, N); keys: where the two differ, positions in the flattened spikes, rising; fired: (n,)
    what the trace fired there, 0 or 1, or how many, and others: (n,) the reference; spikes, reference_spikes: of all.
    """

    shape: tuple[int, ...]
    keys: np.ndarray
    fired: np.ndarray
    others: np.ndarray
    spikes: int
    reference_spikes: int

    @property
    def samples(self) -> np.ndarray:
        """The sample of each difference."""
        return self.keys // math.prod(self.shape[1:])

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """Sample, step and neuron of each difference."""
        return np.unravel_index(self.keys, self.shape)


def compare(reference: Spikes, trace: Spikes, parts: Iterable[slice], names: Iterable[str]) -> dict[str, Compared]:
    """Layer -> how the two differ. Memory for one part of the samples, and for the differences."""
    names = list(names)
    keys: dict[str, list[np.ndarray]] = {name: [] for name in names}
    fired: dict[str, list[np.ndarray]] = {name: [] for name in names}
    elsewhere: dict[str, list[np.ndarray]] = {name: [] for name in names}
    spikes, others = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for samples in parts:
        for name in names:
            a, b = reference[name][samples], trace[name][samples]
            found = np.flatnonzero(a != b)
            keys[name].append(found + samples.start * math.prod(b.shape[1:]))
            fired[name].append(b.reshape(-1)[found])
            elsewhere[name].append(a.reshape(-1)[found])
            spikes[name] += int(b.sum(dtype=np.int64))
            others[name] += int(a.sum(dtype=np.int64))
    return {
        name: Compared(
            trace[name].shape,
            np.concatenate(keys[name]),
            np.concatenate(fired[name]),
            np.concatenate(elsewhere[name]),
            spikes[name],
            others[name],
        )
        for name in names
    }
