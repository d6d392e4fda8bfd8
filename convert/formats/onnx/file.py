"""ONNX models in memory and as files, with their weights."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from convert.formats.onnx.graph import Export
from spikestrip.errors import BadInput, Refused
from spikestrip.files import atomic, existing
from spikestrip.operations import Shape
from spikestrip.program import Program

LARGEST = 2**31 - 1
"""Bytes that a protocol buffer can have."""


def assemble(export: Export) -> onnx.ModelProto:
    """The whole model in memory."""
    return onnx.ModelProto.FromString(b"".join(pieces(export)))


def pieces(export: Export) -> Iterator[bytes | memoryview]:
    """The bytes of the whole model, one weight at a time, so that there is never a second copy of all weights.

    A protocol buffer is a row of fields, (number, length, content); the last field of the model is its graph, and the
    last fields of the graph are its weights. Raises Refused when the model is larger than a protocol buffer can be.
    """
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    model.ClearField("graph")
    top, graph = model.SerializeToString(), export.model.graph.SerializeToString()
    weights = [(_stored(array, export), name, array) for name, array in export.weights.items()]
    heads = [_weight_head(name, array.shape, kind) for kind, name, array in weights]
    size = len(graph) + sum(map(len, heads)) + sum(array.size * kind.itemsize for kind, _, array in weights)
    if len(top) + size > LARGEST:
        raise Refused("ONNX", f"the model would have {len(top) + size:,} bytes, and a file can have {LARGEST:,}")
    yield top + _field(onnx.ModelProto.GRAPH_FIELD_NUMBER, size) + graph
    for head, (kind, _, array) in zip(heads, weights, strict=True):
        yield head
        yield array.astype(kind, order="C").data


def write(export: Export, path: str | os.PathLike[str]) -> None:
    """Write the whole model to ``path``: whole, or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.writelines(pieces(export))


def load_model(path: str | os.PathLike[str], program: Program) -> onnx.ModelProto:
    """The ONNX file made of ``program``. Raises BadInput when it is none, or was made of another program."""
    source, model, facts = read(path)
    found = facts["program_sha256"]
    if found != program.sha256:
        raise BadInput(source, f"was made of program {found[:12]}, not of {program.sha256[:12]}")
    return model


def read(path: str | os.PathLike[str]) -> tuple[Path, onnx.ModelProto, dict[str, str]]:
    """An ONNX file of ours, its model, and its metadata. Raises BadInput for a file that is none."""
    source = existing(path)
    if source.stat().st_size > LARGEST:
        raise BadInput(source, f"has more than {LARGEST:,} bytes, and no ONNX file can")
    try:
        model = onnx.load(source, load_external_data=False)
    except DecodeError as error:
        raise BadInput(source, "is not an ONNX file") from error
    facts = {prop.key: prop.value for prop in model.metadata_props}
    if "program_sha256" not in facts:
        raise BadInput(source, "has no program hash: it was not written by Spikestrip")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BadInput(source, "keeps weights in another file; ours never do")
    return source, model, facts


def _stored(array: np.ndarray, export: Export) -> np.dtype:
    """How the file holds an array: integers as they are, little-endian."""
    return np.dtype(export.dtype if array.dtype.kind == "f" else array.dtype).newbyteorder("<")


def _weight_head(name: str, shape: Shape, kind: np.dtype) -> bytes:
    """All of a weight's field that comes before its numbers."""
    size = math.prod(shape) * kind.itemsize
    element = helper.np_dtype_to_tensor_dtype(kind.newbyteorder("="))
    tensor = onnx.TensorProto(name=name, dims=shape, data_type=element).SerializeToString()
    tensor += _field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, size)
    return _field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(tensor) + size) + tensor


def _field(number: int, size: int) -> bytes:
    return _varint(number << 3 | 2) + _varint(size)  # 2: a content of that length follows


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
