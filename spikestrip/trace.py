"""Traces as HDF5 (docs/files.md), written and read part by part."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from spikestrip import execution, hdf5
from spikestrip.errors import BadInput
from spikestrip.files import Enduring, atomic, parsing
from spikestrip.recorded import Attribute, Trace, input_sha256, join, start_hash, update_hash
from spikestrip.rows import Rows

__all__ = ["Attribute", "Trace", "Writer", "input_sha256", "join", "read", "write", "write_parts", "writing"]

FORMAT = "spikestrip-trace"
VERSION = 2
READ = (1, 2)
CHUNK_BYTES = 1 << 18
KINDS = {
    **dict.fromkeys(
        ("backend", "dtype", "device", "program_sha256", "input_sha256", "form", "parallel", "computed_sha256",
         "quantised_from"), str,
    ),
    **dict.fromkeys(("seed", "iterations"), int), **dict.fromkeys(("seconds", "saturates_at"), int | float),
}  # fmt: skip
"""What the attributes are that others read; a backend may add more."""


def write(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write ``trace`` to ``path``: whole, or not at all."""
    write_parts(path, (trace[samples] for samples in trace.parts()), len(trace.input))


def write_parts(path: str | os.PathLike[str], parts: Iterable[Trace], samples: int) -> None:
    """Write a trace of so many samples from its parts, in their order: whole, or not at all."""
    with writing(path, samples) as writer:
        for part in parts:
            writer.append(part)


@contextmanager
def writing(path: str | os.PathLike[str], samples: int) -> Iterator[Writer]:
    """A trace of so many samples, written part by part; at the end it stands at ``path``, on any error nothing does."""
    with atomic(path) as temporary, Enduring(temporary) as out, h5py.File(out, "w") as file:
        writer = Writer(file, samples, out.check)
        yield writer
        if writer.written != samples:
            raise BadInput(path, f"got {writer.written} samples of {samples}")


class Writer:
    """Appends parts of a trace to an open file. Every part is of the same layers; the last one's attributes count."""

    def __init__(self, file: h5py.File, samples: int, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._samples = samples
        self._check = check
        self.written = 0

    def append(self, part: Trace) -> None:
        """Write the next samples. Raises OSError where the disk is full, as soon as that is known."""
        file, rows = self._file, slice(self.written, self.written + len(part.input))
        if not self.written:
            file.create_group("layers").attrs["order"] = list(part.spikes)
            self._hash = start_hash(part.input.dtype, (self._samples, *part.input.shape[1:]))
        self._put("input", rows, part.input)
        self._put("output", rows, part.output)
        for name, train in part.spikes.items():
            train = train.astype(np.uint8, copy=False)
            if train.size and train.max() > 1:
                raise BadInput(file.filename, f"layer {name}: spikes are not 0 or 1")
            self._put(f"layers/{name}/spikes", rows, np.packbits(train, axis=-1)).attrs["neurons"] = train.shape[-1]
        for name, sent in part.numbers.items():
            self._put(f"numbers/{name}", rows, sent.astype(np.int32, copy=False))
        for kind, tables in (("events", part.events), ("observed", part.observed)):
            for name, counters in tables.items():
                for counter, values in counters.items():
                    self._put_counts(f"{kind}/{name}/{counter}", rows, values.astype(np.int64, copy=False))
        update_hash(self._hash, part.input)
        self.written = rows.stop
        file.attrs.update(part.attrs)
        file.attrs.update(format=FORMAT, version=VERSION, input_sha256=self._hash.hexdigest())
        self._check()

    def _create(self, name: str, values: np.ndarray, dtype: np.typing.DTypeLike, **options: Any) -> h5py.Dataset:
        shape = (self._samples, *values.shape[1:])
        inner = math.prod(shape[2:]) * np.dtype(dtype).itemsize
        steps = min(shape[1], max(1, CHUNK_BYTES // max(1, inner))) if len(shape) > 1 else 1
        samples = min(shape[0], max(1, CHUNK_BYTES // max(1, steps * inner)))
        chunks = (samples, steps, *shape[2:])[: len(shape)] if math.prod(shape) else None
        packed = {"compression": "gzip", **options} if chunks else {}
        return self._file.create_dataset(name, shape, dtype, chunks=chunks, **packed)

    def _put(self, name: str, rows: slice, values: np.ndarray) -> h5py.Dataset:
        dataset = self._file[name] if name in self._file else self._create(name, values, values.dtype)
        dataset[rows] = values
        return dataset

    def _put_counts(self, name: str, rows: slice, values: np.ndarray) -> None:
        """Counters: what is constant is the data set's fill value, of which nothing is stored."""
        wide = bool(values.size) and max(int(values.max()), -int(values.min())) > np.iinfo(np.int32).max
        if name not in self._file:
            constant = int(values.flat[0]) if values.size else 0
            self._create(name, values, np.int64 if wide else np.int32, shuffle=True, fillvalue=constant)
        elif wide and self._file[name].dtype == np.int32:
            self._widen(name)
        dataset = self._file[name]
        if (values != dataset.fillvalue).any():
            dataset[rows] = values

    def _widen(self, name: str) -> None:
        narrow = self._file[name]
        self._file.move(name, "narrow")
        wide = self._create(name, narrow, np.int64, shuffle=True, fillvalue=int(narrow.fillvalue))
        for rows in execution.parts(self.written, 8 * narrow.shape[1]):
            wide[rows] = narrow[rows]
        del self._file["narrow"]


def read(path: str | os.PathLike[str]) -> Trace:
    """Read a trace. One that is larger than a part stays in its file, which stays open; every part is looked at once.

    Raises BadInput for a file that is not a whole, consistent trace of a version that we know.
    """
    source = hdf5.scan(path, ("/events/", "/observed/"))
    with parsing(source, "lacks a part of a trace"):
        trace = _read(source, h5py.File(source, "r"))
        _check_shapes(source, trace)
        if len(list(trace.parts())) <= 1:
            trace = trace[:]
        _check_values(source, trace)
    return trace


def _read(source: os.PathLike[str], file: h5py.File) -> Trace:
    attrs: dict[str, Attribute] = hdf5.attributes(file, source)
    if attrs.get("format") != FORMAT:
        raise BadInput(source, "is not a Spikestrip trace")
    if attrs.get("version") not in READ:
        raise BadInput(source, f"is a trace of version {attrs.get('version')}; this reads version {VERSION}")
    for name, kind in KINDS.items():
        if name in attrs and (not isinstance(attrs[name], kind) or isinstance(attrs[name], bool)):
            raise BadInput(source, f"its {name} is {attrs[name]!r}, not {kind}")
    order = [name.decode() if isinstance(name, bytes) else str(name) for name in file["layers"].attrs["order"]]
    return Trace(
        attrs=attrs,
        input=_rows(file["input"]),
        output=_rows(file["output"]),
        spikes={name: _spikes(source, file[f"layers/{name}/spikes"]) for name in order},
        events=_tables(file, "events"),
        observed=_tables(file, "observed"),
        numbers={name: _rows(sent) for name, sent in file["numbers"].items()} if "numbers" in file else {},
    )


def _rows(dataset: h5py.Dataset, dtype: np.typing.DTypeLike | None = None) -> Any:
    if not isinstance(dataset, h5py.Dataset) or not dataset.shape or dataset.dtype.kind not in "biuf":
        raise TypeError(f"{dataset.name} is not an array of numbers")
    kind = np.dtype(dtype or dataset.dtype)
    return Rows(dataset.shape, kind, lambda samples: dataset[samples].astype(kind, copy=False))


def _spikes(source: os.PathLike[str], dataset: h5py.Dataset) -> Any:
    """A bit for each neuron, where the data set says how many there are; else a byte."""
    stored = _rows(dataset)
    if "neurons" not in dataset.attrs:
        return stored
    neurons = int(dataset.attrs["neurons"])
    if stored.dtype != np.uint8 or stored.ndim != 3 or stored.shape[2] != (neurons + 7) // 8:
        raise BadInput(source, f"{dataset.name}: {stored.shape} of {stored.dtype} are not {neurons} neurons as bits")
    shape = (*stored.shape[:2], neurons)

    def load(samples: slice) -> np.ndarray:
        bits = dataset[samples]
        if bits.size and neurons % 8 and (bits[..., -1] & (0xFF >> neurons % 8)).any():
            raise BadInput(source, f"{dataset.name}: holds bits beyond its {neurons} neurons")
        return np.unpackbits(bits, axis=-1, count=neurons)

    return Rows(shape, np.uint8, load)


def _tables(file: h5py.File, group: str) -> dict[str, dict[str, Any]]:
    if group not in file:
        return {}
    return {
        layer: {
            name: _rows(values, np.int64 if values.dtype.kind in "iu" else None) for name, values in counters.items()
        }
        for layer, counters in file[group].items()
    }


def _check_shapes(source: os.PathLike[str], trace: Trace) -> None:
    if trace.input.ndim < 3:
        raise BadInput(source, f"input has shape {trace.input.shape}, not (B, T, C)")
    steps = trace.input.shape[:2]
    for name, train in trace.spikes.items():
        if train.ndim != 3 or train.shape[:2] != steps:
            raise BadInput(source, f"layer {name}: spikes have shape {train.shape}, not ({steps[0]}, {steps[1]}, N)")
        if train.dtype != np.uint8:
            raise BadInput(source, f"layer {name}: spikes are not 0 or 1")
    for name, sent in trace.numbers.items():
        if sent.ndim != 3 or sent.shape[:2] != steps or sent.dtype.kind not in "iu":
            raise BadInput(source, f"numbers of {name} are not integers of shape ({steps[0]}, {steps[1]}, N)")
    for tables in (trace.events, trace.observed):
        for name, counters in tables.items():
            for counter, values in counters.items():
                if values.shape != steps or values.dtype.kind not in "iu":
                    raise BadInput(source, f"layer {name}: {counter} are not integers of shape {steps}")
    if trace.output.shape[:1] != steps[:1]:
        raise BadInput(source, "output doesn't fit the input, or is not finite")


def _check_values(source: os.PathLike[str], trace: Trace) -> None:
    for samples in trace.parts():
        part = trace[samples]
        for name, train in part.spikes.items():
            if train.size and train.max() > 1:
                raise BadInput(source, f"layer {name}: spikes are not 0 or 1")
        for name, sent in part.numbers.items():
            if sent.size and sent.min() < 0:
                raise BadInput(source, f"numbers of {name} are below 0")
        if not np.isfinite(part.output).all():
            raise BadInput(source, "output doesn't fit the input, or is not finite")
    if trace.attrs.get("input_sha256") != input_sha256(trace.input):
        raise BadInput(source, "input doesn't have the hash that the trace states")
