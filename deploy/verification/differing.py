"""The two sides spike by spike, part by part of the samples: where they differ, and how much each fired."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from spikestrip.trace import Trace


@dataclasses.dataclass
class Compared:
    """One layer. shape: (B, T, N); keys: where the two differ, positions in the flattened spikes, rising; fired: (n,)
    what the trace fired there, 0 or 1 (the reference the other); spikes, reference_spikes: of all."""

    shape: tuple[int, ...]
    keys: np.ndarray
    fired: np.ndarray
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


def compare(reference: Trace, trace: Trace, names: Iterable[str]) -> dict[str, Compared]:
    """Layer -> how the two differ. Memory for one part of the samples, and for the differences."""
    names = list(names)
    keys: dict[str, list[np.ndarray]] = {name: [] for name in names}
    fired: dict[str, list[np.ndarray]] = {name: [] for name in names}
    spikes, others = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for samples in trace.parts():
        for name in names:
            a, b = reference.spikes[name][samples], trace.spikes[name][samples]
            found = np.flatnonzero(a != b)
            keys[name].append(found + samples.start * math.prod(b.shape[1:]))
            fired[name].append(b.reshape(-1)[found])
            spikes[name] += int(np.count_nonzero(b))
            others[name] += int(np.count_nonzero(a))
    return {
        name: Compared(
            trace.spikes[name].shape,
            np.concatenate(keys[name]),
            np.concatenate(fired[name]),
            spikes[name],
            others[name],
        )
        for name in names
    }
