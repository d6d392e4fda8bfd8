"""A NIR file as a tree of nodes: scanned first, and every fault named by node.

``nir.read`` stops with bare assertions, and checks no types inside nested graphs that it can't infer; here each leaf is
made by ``nir`` itself, and graphs are assembled without its type check: shapes are checked by the program.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from spikestrip import hdf5
from spikestrip.errors import BadInput
from spikestrip.files import check_text, parsing

LEAVES = (
    *("Affine", "AvgPool2d", "Conv1d", "Conv2d", "CubaLI", "CubaLIF", "Delay", "Flatten", "I", "IF", "Input", "LI"),
    *("LIF", "Linear", "Output", "Scale", "SumPool2d", "Threshold"),
)
NEURONS = ("CubaLI", "CubaLIF", "I", "IF", "LI", "LIF")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A file's graph, the version of nir that wrote it, and the paths of neurons whose file states no v_reset."""

    source: Path
    version: str
    graph: nir.NIRGraph
    without_reset: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a NIR file. Raises BadInput in one line that names file, node and reason."""
    source = hdf5.scan(path)
    with h5py.File(source, "r") as file:
        if not isinstance(file.get("node"), h5py.Group):
            raise BadInput(source, "is not a NIR file: it has no group 'node'")
        reader = _Reader(source)
        with parsing(source, "can't be read"):
            version = _value(file["version"]) if isinstance(file.get("version"), h5py.Dataset) else "unknown"
            graph = reader.node(file["node"], "")
    if not isinstance(graph, nir.NIRGraph):
        raise BadInput(source, f"holds a single {type(graph).__name__}, not a graph")
    return Loaded(source, str(version), graph, tuple(reader.without_reset))


class _Reader:
    def __init__(self, source: Path) -> None:
        self.source = source
        self.without_reset: list[str] = []

    def bad(self, where: str, reason: str) -> BadInput:
        return BadInput(self.source, f"node {where or 'root'}: {reason}")

    def node(self, group: h5py.Group, where: str) -> nir.NIRNode:
        if not isinstance(group, h5py.Group) or not isinstance(group.get("type"), h5py.Dataset):
            raise self.bad(where, "has no type")
        kind = self.field(group["type"], where)
        fields = {name: self.field(item, where) for name, item in group.items() if name not in ("type", "nodes")}
        fields["metadata"] = _plain(fields.get("metadata", {}))
        if not isinstance(fields["metadata"], dict):
            raise self.bad(where, "metadata is no group")
        if kind == "NIRGraph":
            return self.graph(group, fields, where)
        if kind not in LEAVES:
            raise self.bad(where, f"unknown node type {kind!r}")
        return self.leaf(str(kind), fields, where)

    def graph(self, group: h5py.Group, fields: dict[str, Any], where: str) -> nir.NIRGraph:
        if not isinstance(group.get("nodes"), h5py.Group):
            raise self.bad(where, "is a graph without nodes")
        if "edges" not in fields:
            raise self.bad(where, "is a graph without edges")
        prefix = f"{where}/" if where else ""
        nodes = {name: self.node(item, f"{prefix}{name}") for name, item in group["nodes"].items()}
        return nir.NIRGraph(nodes, self.edges(fields["edges"], nodes, where), fields["metadata"], type_check=False)

    def edges(self, value: Any, nodes: dict[str, nir.NIRNode], where: str) -> list[tuple[str, str]]:
        array = np.asarray(value)
        if array.size and (array.ndim != 2 or array.shape[1] != 2):
            raise self.bad(where, f"edges have shape {array.shape}, not (E, 2)")
        edges = [tuple(end.decode() if isinstance(end, bytes) else str(end) for end in edge) for edge in array]
        for edge in edges:
            for end in edge:
                if end not in nodes:
                    raise self.bad(where, f"edge {edge[0]} -> {edge[1]} names {end!r}, which is no node")
        if len(set(edges)) < len(edges):
            source, target = max(edges, key=edges.count)
            raise self.bad(where, f"has the edge {source} -> {target} twice")
        return edges  # type: ignore[return-value]

    def leaf(self, kind: str, fields: dict[str, Any], where: str) -> nir.NIRNode:
        if kind in ("LIF", "IF", "CubaLIF") and "v_reset" not in fields:
            self.without_reset.append(where)
        if kind in ("Conv1d", "Conv2d"):
            fields.setdefault("input_shape", None)
        for name, value in fields.items():
            if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
                raise self.bad(where, f"{name} is not made of real numbers (dtype {value.dtype})")
        if kind in NEURONS:
            _spread(fields)
        try:
            return nir.dict2NIRNode(fields | {"type": kind})
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise self.bad(where, f"is no valid {kind} ({reason.replace(f'{kind}.__init__() ', '')})") from error

    def field(self, item: h5py.Group | h5py.Dataset, where: str) -> Any:
        if isinstance(item, h5py.Group):
            return {name: self.field(inner, where) for name, inner in item.items()}
        name = item.name.rsplit("/")[-1]
        with parsing(self.source, f"node {where or 'root'}: {name} can't be read"):
            value = _value(item)
            texts = np.asarray(value).ravel().tolist() if _is_text(value) else ()
            check_text(self.source, [text.decode() if isinstance(text, bytes) else text for text in texts])
        if not _is_text(value) and np.asarray(value).dtype.kind not in "biufc":
            raise self.bad(where, f"{name} is neither text nor numbers ({item.dtype})")
        return value


def _spread(fields: dict[str, Any]) -> None:
    """Parameters of one neuron in one shape: nir wants them alike, and files mix one number with one for each neuron.

    Shapes that don't fit together are left for nir to name.
    """
    numbers = {name: value for name, value in fields.items() if isinstance(value, np.ndarray | np.generic)}
    shapes = {np.shape(value) for value in numbers.values()}
    if len(shapes) > 1:
        largest = max(shapes, key=lambda shape: (math.prod(shape), len(shape)))
        if all(shape == largest or math.prod(shape) == 1 for shape in shapes):
            fields |= {
                name: value if np.shape(value) == largest else np.full(largest, np.reshape(value, ()))
                for name, value in numbers.items()
            }


def _is_text(value: Any) -> bool:
    """Whether a value is text, or an array of it."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return all(isinstance(one, str | bytes) for one in value.flat)
    return isinstance(value, str | bytes) or (isinstance(value, np.ndarray) and value.dtype.kind == "S")


def _value(dataset: h5py.Dataset) -> Any:
    """Text as str; arrays (constant ones read-only, without room of their own) and numpy scalars as they are."""
    value = dataset[()]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.size > 1 << 12 and value.dtype.kind == "f":
        first = value.flat[0]
        if (value == first).all() or np.isnan(value).all():
            return np.broadcast_to(first, value.shape)  # poison, ones and zeros need not take room
    return value


def _plain(value: Any) -> Any:
    """Metadata with Python's numbers for numpy scalars, so that an operation gets back what it gave."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
