"""The program in an ONNX file of ours: what its metadata hold beside the weights, and back, to the bit.

The metadata ``program`` is JSON: names, kinds, edges, plain parameters, and for each array either the weight of the
graph that holds it exactly or, where the graph holds it rounded, in parts or not at all, its own bytes (zlib, base64).
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import numpy_helper

from spikestrip.errors import BadInput, Refused
from spikestrip.operations import OPERATIONS, Operation
from spikestrip.program import Layer, Program

VERSION = 1


def described(program: Program, weights: Mapping[str, np.ndarray], dtype: str) -> str:
    """``program`` as JSON, its arrays found in ``weights``, as a file of ``dtype`` holds them, where they can be."""
    layers = [
        {
            "name": layer.name,
            "kind": layer.operation.kind,
            "inputs": layer.inputs,
            "delayed": layer.delayed,
            "attributes": layer.operation.attributes(),
            "arrays": {name: _array(layer.name, name, array, weights, dtype) for name, array in _arrays(layer)},
        }
        for layer in program.layers
    ]
    whole = {"version": VERSION, "input_shape": program.input_shape, "output": program.output, "layers": layers}
    return json.dumps(whole | {"readout": program.readout}, separators=(",", ":"))


def _arrays(layer: Layer) -> list[tuple[str, np.ndarray]]:
    return list(layer.operation.arrays().items())


def _array(layer: str, name: str, array: np.ndarray, weights: Mapping[str, np.ndarray], dtype: str) -> dict[str, Any]:
    kind = array.dtype.newbyteorder("<").str
    for weight, transposed in ((f"{layer}.{name}", False), (f"{layer}.{name}_t", True)):
        held = weights.get(weight)
        if held is not None:
            stored = held.astype(dtype if held.dtype.kind == "f" else held.dtype).astype(array.dtype)
            stored = stored.T if transposed else stored
            if stored.shape == array.shape and stored.tobytes() == array.tobytes():
                return {"dtype": kind, "weight": weight, "transposed": transposed}
    packed = base64.b64encode(zlib.compress(array.astype(kind).tobytes(), 9)).decode()
    return {"dtype": kind, "shape": array.shape, "bytes": packed}


def recover(path: str | os.PathLike[str]) -> Program:
    """The program of an ONNX file that Spikestrip wrote.

    It is built anew, must have the hash that the file states, and is written again in memory: the file must hold that
    very graph. Raises BadInput for another file, an edited one, or one of a release whose graphs were others.
    """
    from convert.formats.onnx.file import assemble, read
    from convert.formats.onnx.graph import export

    source, model, facts = read(path)
    if "program" not in facts:
        raise BadInput(source, "holds no program beside its graph (an older release wrote it); take what it came from")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    try:
        program = _built(json.loads(facts["program"]), weights)
        form, dtype, eight = facts["form"], facts["dtype"], facts["weights"] == "int8"
        made = export(program, form, dtype, functions=bool(model.functions), int8=eight)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, BadInput, Refused) as error:
        raise BadInput(source, f"holds a program that can't be read ({error})") from error
    if program.sha256 != facts["program_sha256"]:
        raise BadInput(source, "holds another program than its hash says: the file was edited")
    again = assemble(made)
    for function in (*again.functions, *model.functions):
        function.doc_string = ""  # says what the operation is, and decides nothing
    if (again.graph, list(again.functions)) != (model.graph, list(model.functions)):
        raise BadInput(source, "hasn't the graph that this release writes of it: edited, or of another release")
    return program


def _built(whole: dict[str, Any], weights: Mapping[str, np.ndarray]) -> Program:
    if whole["version"] != VERSION:
        raise ValueError(f"its version is {whole['version']!r}; this reads {VERSION}")
    layers = [
        Layer(found["name"], _operation(found, weights), tuple(found["inputs"]), tuple(found["delayed"]))
        for found in whole["layers"]
    ]
    return Program(tuple(whole["input_shape"]), tuple(layers), whole["output"], whole["readout"])


def _operation(found: dict[str, Any], weights: Mapping[str, np.ndarray]) -> Operation:
    arrays = {name: _stored(entry, weights) for name, entry in found["arrays"].items()}
    return OPERATIONS[found["kind"]](**arrays, **found["attributes"])


def _stored(entry: dict[str, Any], weights: Mapping[str, np.ndarray]) -> np.ndarray:
    kind = np.dtype(entry["dtype"])
    if "weight" in entry:
        held = weights[entry["weight"]].astype(kind.newbyteorder("="))
        return np.ascontiguousarray(held.T if entry["transposed"] else held)
    raw = zlib.decompress(base64.b64decode(entry["bytes"], validate=True))
    return np.frombuffer(raw, kind).reshape(entry["shape"]).astype(kind.newbyteorder("="))
