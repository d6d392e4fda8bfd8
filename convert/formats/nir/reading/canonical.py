"""Our own files: each operation from its metadata, then every standard node held against what we would have written."""

from __future__ import annotations

import dataclasses
from typing import Any

import nir
import numpy as np

from convert import cycles
from convert.formats.nir.reading.metadata import word
from convert.formats.nir.reading.structure import shape_of
from convert.formats.nir.writing import OUTPUT, edges, nodes
from convert.formats.nir.writing.names import RENAMED, from_text, renamed
from convert.formats.nir.writing.nodes import VERSION
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, OPERATIONS, Affine, Operation, Scale
from spikestrip.program import INPUT, Layer, Program

RELATIVE = 1e-12
"""How far a standard node's numbers may be from the exact ones beside them: some roundings of float64."""


def program(found: nir.NIRGraph) -> Program:
    """The program of a canonical graph. Raises BadInput(node, reason) when it is newer, edited or not whole."""
    metadata = found.metadata
    version = _checked_version("graph", metadata)
    try:
        rows, order, readout = bool(metadata["rows"]), str(metadata["order"]).split(), str(metadata["readout"])
    except KeyError as error:
        raise BadInput("graph", f"metadata lacks {error}") from error
    if (word(metadata, "dt"), word(metadata, "integrate")) != (1.0, "euler"):
        raise BadInput("graph", "is marked canonical, but not for forward Euler at dt = 1: the file was edited")
    operations = {name: _operation(name, _node(found, name), rows) for name in order}
    guards = {name for name, node in found.nodes.items() if word(node.metadata, "spikestrip_op") == "guard"}
    for name in found.nodes:
        if name not in operations and name not in guards | {INPUT, OUTPUT}:
            raise BadInput(name, "is not in the file's own list of layers: the graph was edited")
    stateful = {name: _is_stateful(node) for name, node in found.nodes.items()}
    delayed, _ = cycles.delayed_edges(stateful, found.edges)
    layers = [
        Layer(
            name,
            operation,
            tuple(a for a, b in found.edges if b == name and (a, b) not in delayed),
            tuple(a for a, b in found.edges if b == name and (a, b) in delayed),
        )
        for name, operation in operations.items()
    ]
    last = _single(found, OUTPUT)
    output = _single(found, last) if last in guards else last
    shape = shape_of(_node(found, INPUT).input_type["input"])
    built = Program(shape[1:] if rows else shape, tuple(layers), output, readout)  # type: ignore[arg-type]
    names = []
    for name, node in nodes(built, version):  # one at a time: bodies are larger than what they say
        _agree(name, node, _node(found, name))
        names.append(name)
    if set(names) != set(found.nodes) or set(edges(built, names[-2])) != set(found.edges):
        raise BadInput("graph", "nodes or edges are not those of its layers: the file was edited")
    return _with_own_names(built, str(metadata.get(RENAMED, "")))


def _with_own_names(built: Program, text: str) -> Program:
    names = {new: old for old, new in from_text(text).items()}
    for new in names:
        if new not in built.shapes:
            raise BadInput("graph", f"metadata {RENAMED} names {new!r}, which is no layer: the file was edited")
    return renamed(built, names)


def _node(found: nir.NIRGraph, name: str) -> nir.NIRNode:
    if name not in found.nodes:
        raise BadInput(name, "is missing")
    return found.nodes[name]


def _single(found: nir.NIRGraph, name: str) -> str:
    sources = [a for a, b in found.edges if b == name]
    if len(sources) != 1:
        raise BadInput(name, f"is fed by {len(sources)} nodes, not one")
    return sources[0]


def _is_stateful(node: nir.NIRNode) -> bool:
    if isinstance(node, nir.NIRGraph):
        return any(_is_stateful(child) for child in node.nodes.values())
    return isinstance(node, nir.LI | nir.LIF | nir.I | nir.IF | nir.CubaLI | nir.CubaLIF)


def _checked_version(name: str, metadata: dict[str, Any]) -> int:
    version = metadata.get("spikestrip_version")
    if not isinstance(version, int) or version < 1:
        raise BadInput(name, f"spikestrip_version is {version!r}, not a number from 1")
    if version > VERSION:
        raise BadInput(name, f"is of spikestrip_version {version}; this reads up to {VERSION}")
    return version


def _operation(name: str, node: nir.NIRNode, rows: bool) -> Operation:
    metadata = node.metadata
    if "spikestrip_op" not in metadata:
        return _synapse(name, node, rows)
    _checked_version(name, metadata)
    op = word(metadata, "spikestrip_op")
    kind: type[Operation] | None = LIF if op == "lif_soft" else OPERATIONS.get(str(op))
    if kind is None:
        raise BadInput(name, f"unknown spikestrip_op {op!r}")
    known = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    values = {key: value for key, value in metadata.items() if key not in ("spikestrip_op", "spikestrip_version")}
    for key, value in values.items():
        if key not in known:
            raise BadInput(name, f"{op} has no parameter {key!r}")
        if not _suits(value, known[key]):
            raise BadInput(name, f"{op} needs {key} to be {known[key]}")
    try:
        return kind(**values)
    except TypeError as error:
        raise BadInput(name, f"{op} lacks a parameter ({error})") from error
    except BadInput as error:
        raise BadInput(name, f"{op}: {error.reason}") from error


SCALARS: dict[str, Any] = {"int": int, "bool": int, "float": int | float}


def _suits(value: object, annotation: str) -> bool:
    """Whether a field annotated so can have a value of this type: numbers, arrays of numbers, or else a word."""
    kinds = annotation.split(" | ")
    if "np.ndarray" in kinds:
        return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return isinstance(value, next((SCALARS[kind] for kind in kinds if kind in SCALARS), str))


def _synapse(name: str, node: nir.NIRNode, rows: bool) -> Operation:
    """Affine, Linear and Scale need no metadata: they hold their arrays exactly."""

    def lower(array: np.ndarray) -> np.ndarray:
        if rows and array.shape[:1] != (1,):
            raise BadInput(name, f"has an array of shape {array.shape}, which does not begin with a row")
        return array[0] if rows else array

    if isinstance(node, nir.Affine | nir.Linear):
        weight = lower(node.weight)
        bias = lower(node.bias) if isinstance(node, nir.Affine) else None
        # the rows of a stream share one matrix; _agree sees to it that they do
        return Affine(weight[(0,) * (weight.ndim - 2)], None if bias is None else bias[(0,) * (bias.ndim - 1)])
    if isinstance(node, nir.Scale):
        return Scale(lower(node.scale))
    raise BadInput(name, f"is a {type(node).__name__} without spikestrip_op in a canonical file")


def _agree(where: str, expected: Any, found: Any) -> None:
    """Raise BadInput at the first place where a standard node differs from what we would write, beyond rounding."""
    name, _, field = where.partition(".")
    said = f" in {field}" if field else ""
    if isinstance(expected, nir.NIRGraph) and isinstance(found, nir.NIRGraph):
        if set(expected.nodes) != set(found.nodes) or set(expected.edges) != set(found.edges):
            raise BadInput(name, f"nodes or edges{said} are not those of its operation: the file was edited")
        for key, node in expected.nodes.items():
            _agree(f"{where}.{key}", node, found.nodes[key])
    elif type(expected) is not type(found):
        raise BadInput(name, f"a {type(found).__name__} stands{said} where {type(expected).__name__} should")
    else:
        for key in (entry.name for entry in dataclasses.fields(expected) if entry.name != "metadata"):
            ours, theirs = getattr(expected, key), getattr(found, key)
            if key in ("input_type", "output_type"):
                if not isinstance(expected, nir.Input | nir.Output):
                    continue
                ours, theirs = next(iter(ours.values())), next(iter(theirs.values()))
            if not _close(ours, theirs):
                raise BadInput(
                    name, f"{key} of the standard node{said} does not agree with its metadata: the file was edited"
                )


def _close(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, str) or isinstance(theirs, str) or ours is None or theirs is None:
        return type(ours) is type(theirs) and bool(ours == theirs)
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return False
    # allclose makes several arrays of the size of its own, and most are equal
    return np.array_equal(ours, theirs) or np.allclose(ours, theirs, rtol=RELATIVE, atol=0, equal_nan=True)
