"""Traces: what a run did, as HDF5 (docs/files.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import h5py
import numpy as np

from spikestrip import hdf5
from spikestrip.errors import BadInput
from spikestrip.files import atomic

FORMAT = "spikestrip-trace"
VERSION = 1
Attribute = str | int | float | bool


@dataclasses.dataclass(repr=False)
class Trace:
    """One run. Time is aligned: index t is the answer to input t, whatever the backend's pipeline delay was.

    attrs: backend, dtype, device, program_sha256, seed, form ("iterative" or "parallel"), and what a backend adds.
    input: (B, T, ...); output: (B, C) or (B, T, C); spikes: layer -> (B, T, N) uint8, in program order;
    events, observed: layer -> counter -> (B, T) int64.
    """

    attrs: dict[str, Attribute]
    input: np.ndarray
    output: np.ndarray
    spikes: dict[str, np.ndarray]
    events: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    observed: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        batch, steps = self.input.shape[:2]
        fired = sum(int(np.count_nonzero(train)) for train in self.spikes.values())
        what = " ".join(str(self.attrs[name]) for name in ("backend", "form", "dtype") if name in self.attrs)
        return f"<Trace {what}: {batch} x {steps} steps, {len(self.spikes)} spiking layers, {fired:,} spikes>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to ``path`` (HDF5): whole, or not at all."""
        write(path, self)


def input_sha256(x: np.ndarray) -> str:
    """Hash of an input's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{x.dtype.newbyteorder('<').str}{x.shape}".encode())
    digest.update(np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def write(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write ``trace`` to ``path``: whole, or not at all."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(trace.attrs)
        file.attrs.update(format=FORMAT, version=VERSION, input_sha256=input_sha256(trace.input))
        file.create_dataset("input", data=trace.input, compression="gzip")
        file.create_dataset("output", data=trace.output)
        layers = file.create_group("layers")
        layers.attrs["order"] = list(trace.spikes)
        for name, train in trace.spikes.items():
            layers.create_dataset(f"{name}/spikes", data=train.astype(np.uint8, copy=False), compression="gzip")
        for group, tables in (("events", trace.events), ("observed", trace.observed)):
            for name, counters in tables.items():
                for counter, values in counters.items():
                    file.create_dataset(f"{group}/{name}/{counter}", data=values.astype(np.int64), compression="gzip")


def read(path: str | os.PathLike[str]) -> Trace:
    """Read a trace. Raises BadInput for a file that is not a whole, consistent trace of a version that we know."""
    source = hdf5.scan(path)
    try:
        with h5py.File(source, "r") as file:
            trace = _read(source, file)
    except (KeyError, AttributeError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise BadInput(source, f"lacks a part of a trace ({str(error).splitlines()[0]})") from error
    _check(source, trace)
    return trace


def _read(source: os.PathLike[str], file: h5py.File) -> Trace:
    attrs = {name: _plain(value) for name, value in file.attrs.items()}
    if attrs.get("format") != FORMAT:
        raise BadInput(source, "is not a Spikestrip trace")
    if attrs.get("version") != VERSION:
        raise BadInput(source, f"is a trace of version {attrs.get('version')}; this reads version {VERSION}")
    order = [str(_plain(name)) for name in file["layers"].attrs["order"]]
    return Trace(
        attrs=attrs,
        input=_numbers(file["input"]),
        output=_numbers(file["output"]),
        spikes={name: _numbers(file[f"layers/{name}/spikes"]) for name in order},
        events=_tables(file, "events"),
        observed=_tables(file, "observed"),
    )


def _numbers(dataset: h5py.Dataset) -> np.ndarray:
    values = dataset[()]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise TypeError(f"{dataset.name} is not an array of numbers")
    return values


def _tables(file: h5py.File, group: str) -> dict[str, dict[str, np.ndarray]]:
    if group not in file:
        return {}
    return {
        layer: {name: _numbers(values) for name, values in counters.items()} for layer, counters in file[group].items()
    }


def _check(source: os.PathLike[str], trace: Trace) -> None:
    if trace.input.ndim < 3:
        raise BadInput(source, f"input has shape {trace.input.shape}, not (B, T, C)")
    steps = trace.input.shape[:2]
    for name, train in trace.spikes.items():
        if train.ndim != 3 or train.shape[:2] != steps:
            raise BadInput(source, f"layer {name}: spikes have shape {train.shape}, not ({steps[0]}, {steps[1]}, N)")
        if train.dtype != np.uint8 or (train > 1).any():
            raise BadInput(source, f"layer {name}: spikes are not 0 or 1")
    for tables in (trace.events, trace.observed):
        for name, counters in tables.items():
            for counter, values in counters.items():
                if values.shape != steps or values.dtype.kind not in "iu":
                    raise BadInput(source, f"layer {name}: {counter} are not integers of shape {steps}")
    if trace.output.shape[:1] != steps[:1] or not np.isfinite(trace.output).all():
        raise BadInput(source, "output doesn't fit the input, or is not finite")
    if trace.attrs.get("input_sha256") != input_sha256(trace.input):
        raise BadInput(source, "input doesn't have the hash that the trace states")


def _plain(value: object) -> Attribute:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[return-value]
