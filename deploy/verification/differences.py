"""Every difference with its cause, in an HDF5 table beside verdict.json (docs/files.md)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from deploy.verification.causes import CAUSES
from spikestrip import hdf5
from spikestrip.errors import BadInput
from spikestrip.files import Enduring, atomic, named, parsing

FORMAT = "spikestrip-differences"
VERSION = 1
PART = 1 << 20  # rows written together
COLUMNS = ("sample", "step", "neuron")


@dataclasses.dataclass
class Differences:
    """Those of one layer, in the order of samples, steps and neurons.

    shape: (B, T, N) of its spikes; keys: positions in them, flattened; codes: numbers of causes in CAUSES; fired: (n,)
    the trace's spikes, 0 or 1, and the reference's are the others; where one is more, how many, and ``others`` how many
    the reference sent.
    """

    shape: tuple[int, ...]
    keys: np.ndarray
    codes: np.ndarray
    fired: np.ndarray
    others: np.ndarray | None = None


def beside(path: str | os.PathLike[str]) -> Path:
    """Where the table of a verdict at ``path`` stands: verdict.json has verdict.differences.h5."""
    return named(path).with_name(f"{Path(path).stem}.differences.h5")


def write(path: str | os.PathLike[str], layers: Mapping[str, Differences]) -> None:
    """Write the table: whole, or not at all, and part by part."""
    with atomic(path) as temporary, Enduring(temporary) as out, h5py.File(out, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, causes=list(CAUSES), order=list(layers))
        for name, found in layers.items():
            group = file.create_group(name)
            group.attrs["shape"] = found.shape
            size = found.keys.size
            kept = {"compression": "gzip", "shuffle": True, "chunks": (min(size, PART),)} if size else {}
            for column in COLUMNS:
                group.create_dataset(column, (size,), np.uint32, **kept)
            spikes = {"spike": found.fired} if found.others is None else {
                "spike": found.fired, "reference_spike": found.others,
            }  # fmt: skip
            group.create_dataset("cause", (size,), np.uint8, **kept)
            for column in spikes:
                group.create_dataset(column, (size,), np.uint8 if found.others is None else np.uint32, **kept)
            for start in range(0, size, PART):
                part = slice(start, start + PART)
                for column, places in zip(COLUMNS, np.unravel_index(found.keys[part], found.shape), strict=True):
                    group[column][part] = places
                group["cause"][part] = found.codes[part]
                for column, sent in spikes.items():
                    group[column][part] = sent[part]


@dataclasses.dataclass
class Listed:
    """A layer's part of a table that was read: (n,) each; causes: names of CAUSES; fired, others: spikes sent."""

    sample: np.ndarray
    step: np.ndarray
    neuron: np.ndarray
    causes: np.ndarray
    fired: np.ndarray
    others: np.ndarray


def read(path: str | os.PathLike[str]) -> dict[str, Listed]:
    """Read a table: layer -> its differences, in the order of samples, steps and neurons. Raises BadInput."""
    source = hdf5.scan(path)
    with parsing(source, "lacks a part of a table of differences"), h5py.File(source, "r") as file:
        if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
            raise BadInput(source, f"is no table of differences of version {VERSION}")
        names = np.array([str(name) for name in file.attrs["causes"]])
        return {str(name): _listed(source, file[str(name)], names) for name in file.attrs["order"]}


def _listed(source: Path, group: h5py.Group, names: np.ndarray) -> Listed:
    columns = {column: group[column][:] for column in (*COLUMNS, "cause", "spike")}
    columns["others"] = group["reference_spike"][:] if "reference_spike" in group else 1 - columns["spike"]
    size = columns["sample"].shape
    if len(size) != 1 or any(values.shape != size or values.dtype.kind not in "iu" for values in columns.values()):
        raise BadInput(source, f"{group.name}: its columns are not integers of one length")
    limits = dict(zip((*COLUMNS, "cause"), (*group.attrs["shape"], len(names)), strict=True))
    for column, most in limits.items():
        values = columns[column]
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < int(most):
            raise BadInput(
                source, f"{group.name}: its {column} go from {values.min()} to {values.max()}, not below {most}"
            )
    sample, step, neuron, cause, fired, others = columns.values()
    return Listed(sample, step, neuron, names[cause.astype(np.int64)], fired, others)
