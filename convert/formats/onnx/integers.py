"""Products of integers: an affine layer whose weights lie on the grid of 8 bits."""

from __future__ import annotations

import numpy as np

from convert.formats.onnx.symbols import B, Namespace, Tape
from convert.formats.onnx.tracing import Body, finish
from convert.lowering.int8 import grid
from spikestrip.errors import BadInput
from spikestrip.operations import Affine


def integer_body(layer: str, operation: Affine, dtype: str) -> Body:
    """y = step * (integers . spikes) + bias. weight: (in, out) int8; step, bias: (out,).

    Raises BadInput when the weight isn't on its grid: its file would be another program's.
    """
    integers, step = grid(operation.weight)
    if not np.array_equal(integers * step[:, None], operation.weight):
        raise BadInput(
            f"layer {layer}", "its weight isn't on the grid of 8 bits; lower the program first (convert.lowering.int8)"
        )
    tape = Tape(dtype)
    spikes = Namespace.astype(tape.value("x", (B, integers.shape[1]), dtype), "uint8")
    weight = tape.parameter("weight", integers.T, dtype="int8")
    total = Namespace.astype(tape.emit("MatMulInteger", [spikes, weight], (B, len(integers)), "int32"), dtype)
    y = total * tape.parameter("step", step)
    return finish(tape, {"y": y if operation.bias is None else y + tape.parameter("bias", operation.bias)})
