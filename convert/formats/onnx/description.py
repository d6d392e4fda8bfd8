"""A program as JSON beside the weights of an ONNX model, and back, to the bit.

The metadata ``program`` is JSON: names, kinds, edges, plain parameters, and for each array either the weight of the
graph that holds it exactly or, where the graph holds it rounded, in parts or not at all, its own bytes (zlib, base64).
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

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


def built(text: str, weights: Mapping[str, np.ndarray]) -> Program:
    """The program that ``described`` said, from the weights of a file.

    Raises KeyError, TypeError, ValueError, AttributeError, zlib.error or BadInput for what it never says.
    """
    whole = json.loads(text)
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
    packed, size = base64.b64decode(entry["bytes"], validate=True), math.prod(entry["shape"]) * kind.itemsize
    raw = zlib.decompressobj().decompress(packed, max(0, size) + 1)  # no more than it says
    return np.frombuffer(raw, kind).reshape(entry["shape"]).astype(kind.newbyteorder("="))
