"""A NIR graph as an HDF5 file, laid out as ``nir.write`` does, but one array at a time: no second copy in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import h5py
import nir
import numpy as np

from spikestrip.files import Enduring


def save(graph: nir.NIRGraph, path: Path) -> None:
    """Write ``graph`` to ``path``."""
    with Enduring(path) as out, h5py.File(out, "w") as file:
        file.create_dataset("version", data=nir.version, dtype=h5py.string_dtype())
        _node(file.create_group("node"), graph)


def _node(group: h5py.Group, node: nir.NIRNode) -> None:
    _value(group, "type", type(node).__name__)
    for field in dataclasses.fields(node):
        if field.name == "nodes":
            nodes = group.create_group("nodes")
            for name, child in node.nodes.items():
                _node(nodes.create_group(name), child)
        elif field.name not in ("input_type", "output_type"):
            _value(group, field.name, getattr(node, field.name))
    if isinstance(node, nir.Input | nir.Output):
        _value(group, "shape", np.asarray(node.input_type["input"]))
    elif isinstance(node, nir.Flatten):
        _value(group, "input_type", node.input_type["input"])


def _value(group: h5py.Group, name: str, value: object) -> None:
    if isinstance(value, Mapping):
        if value:
            inner = group.create_group(name)
            for key, item in value.items():
                _value(inner, key, item)
    elif isinstance(value, str):
        group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    elif isinstance(value, np.ndarray) and value.size > 1:
        group.create_dataset(name, data=value, compression="gzip", compression_opts=1, shuffle=True)
    elif value is not None:
        group.create_dataset(name, data=value)
