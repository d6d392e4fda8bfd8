"""A trace in memory, or as rows of a file: what a run did."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spikestrip import execution

if TYPE_CHECKING:
    from nir.data_ir import NIRGraphData

Attribute = str | int | float | bool


@dataclasses.dataclass(repr=False)
class Trace:
    """One run. Time is aligned: index t is the answer to input t, whatever the backend's pipeline delay was.

    attrs: backend, dtype, device, program_sha256, seed, form ("iterative" or "parallel"), and what a backend adds.
    input: (B, T, ...); output: (B, C) or (B, T, C); spikes: layer -> (B, T, N) uint8, in program order;
    events, observed: layer -> counter -> (B, T) int64; numbers: of layers that send several spikes in a step, where the
    run recorded them, (B, T, N) integers.
    Of a large trace that was read from a file the arrays are ``Rows``, which load the samples that they are asked for.
    """

    attrs: dict[str, Attribute]
    input: np.ndarray
    output: np.ndarray
    spikes: dict[str, np.ndarray]
    events: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    observed: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        batch, steps = self.input.shape[:2]
        what = " ".join(str(self.attrs[name]) for name in ("backend", "form", "dtype") if name in self.attrs)
        fired = sum(self.fired().values())
        return f"<Trace {what}: {batch} x {steps} steps, {len(self.spikes)} spiking layers, {fired:,} spikes>"

    def __getitem__(self, samples: slice) -> Trace:
        """A part of the trace, loaded: ``trace[4:8]`` is of four samples."""
        events, observed = (
            {layer: {name: values[samples] for name, values in table.items()} for layer, table in tables.items()}
            for tables in (self.events, self.observed)
        )
        spikes, numbers = (
            {name: train[samples] for name, train in trains.items()} for trains in (self.spikes, self.numbers)
        )
        return Trace(self.attrs, self.input[samples], self.output[samples], spikes, events, observed, numbers)

    def parts(self) -> Iterator[slice]:
        """Slices of the samples, each of a size that fits in memory."""
        counters = sum(len(table) for tables in (self.events, self.observed) for table in tables.values())
        arrays = (self.input, self.output, *self.spikes.values(), *self.numbers.values())
        values = sum(math.prod(array.shape[1:]) * array.dtype.itemsize for array in arrays)
        return execution.parts(len(self.input), values + counters * self.input.shape[1] * 8)

    def fired(self) -> dict[str, int]:
        """Layer -> its spikes, over all samples and steps."""
        counts = dict.fromkeys(self.spikes, 0)
        for samples in self.parts():
            for name, train in self.spikes.items():
                counts[name] += int(np.count_nonzero(train[samples]))
        return counts

    def counted(self) -> dict[str, dict[str, int]]:
        """Layer -> counter -> its events, over all samples and steps."""
        sums = {layer: dict.fromkeys(table, 0) for layer, table in self.events.items()}
        for samples in self.parts():
            for layer, table in self.events.items():
                for name, values in table.items():
                    sums[layer][name] += int(values[samples].sum())
        return sums

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to ``path`` (HDF5): whole, or not at all."""
        from spikestrip.trace import write

        write(path, self)

    def to_nirdata(self, dt: float = 1.0) -> NIRGraphData:
        """The trace in NIR's own data format: see ``spikestrip.nirdata``."""
        from spikestrip import nirdata

        return nirdata.graph_data(self, dt)


def join(parts: Sequence[Trace]) -> Trace:
    """The trace of all samples from those of its parts; the last one's attributes count."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def tables(kind: str) -> dict[str, dict[str, np.ndarray]]:
        return {
            layer: {name: np.concatenate([getattr(part, kind)[layer][name] for part in parts]) for name in table}
            for layer, table in getattr(first, kind).items()
        }

    def trains(kind: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in getattr(first, kind)}

    return Trace(
        parts[-1].attrs,
        np.concatenate([part.input for part in parts]),
        np.concatenate([part.output for part in parts]),
        trains("spikes"),
        tables("events"),
        tables("observed"),
        trains("numbers"),
    )


def input_sha256(x: np.ndarray) -> str:
    """Hash of an input's dtype, shape and bytes."""
    digest = start_hash(x.dtype, x.shape)
    for samples in execution.parts(len(x), math.prod(x.shape[1:]) * x.dtype.itemsize):
        update_hash(digest, x[samples])
    return str(digest.hexdigest())


def start_hash(dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """The hash of an input of which nothing is there yet."""
    return hashlib.sha256(f"{dtype.newbyteorder('<').str}{shape}".encode())


def update_hash(digest: Any, x: np.ndarray) -> None:
    """Add the next samples."""
    digest.update(np.ascontiguousarray(x, x.dtype.newbyteorder("<")))
