"""Weights of 8 bits, where spikes enter: sums of integers, the same on every machine; and what they cost in spikes."""

from __future__ import annotations

import dataclasses

import numpy as np

from convert.formats.onnx.symbols import B, Namespace, Tape
from convert.formats.onnx.tracing import Body, finish
from spikestrip.execution import Stepper
from spikestrip.operations import Affine
from spikestrip.program import Layer, Program

LARGEST = 127


def grid(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers (out, in) int8 and steps (out,), such that integers * steps is nearest to ``weight``.

    A step is a power of two, so no product and no sum of spikes rounds; what lies on a grid is returned as it is.
    """
    share, exponent = np.frexp(np.abs(weight).max(axis=1).astype(np.float64) / LARGEST)
    step = np.ldexp(1.0, exponent - (share == 0.5))
    return np.rint(weight / step[:, None]).astype(np.int8), step


def affine(program: Program, layer: Layer) -> Affine | None:
    """The operation of a layer whose weights one stream of spikes reaches; every other layer keeps its weights."""
    operation = layer.operation
    return operation if isinstance(operation, Affine) and program.is_binary(layer) else None


def quantised(program: Program) -> Program:
    """``program`` with the weights of the layers that spikes reach moved to their grid."""
    layers = []
    for layer in program.layers:
        operation = affine(program, layer)
        if operation is not None:
            integers, step = grid(operation.weight)
            weight = (integers * step[:, None]).astype(np.float32)
            layer = dataclasses.replace(layer, operation=dataclasses.replace(operation, weight=weight))
        layers.append(layer)
    return dataclasses.replace(program, layers=tuple(layers))


def body(operation: Affine, dtype: str) -> Body:
    """y = step * (integers . spikes) + bias, for a weight that lies on its grid. (in, out) int8; (out,); (out,)."""
    integers, step = grid(operation.weight)
    tape = Tape(dtype)
    spikes = Namespace.astype(tape.value("x", (B, integers.shape[1]), dtype), "uint8")
    weight = tape.parameter("weight", integers.T, dtype="int8")
    total = Namespace.astype(tape.emit("MatMulInteger", [spikes, weight], (B, len(integers)), "int32"), dtype)
    y = total * tape.parameter("step", step)
    return finish(tape, {"y": y if operation.bias is None else y + tape.parameter("bias", operation.bias)})


def cost(program: Program, other: Program, x: np.ndarray) -> dict[str, float]:
    """The share of spikes of each layer that differ between two programs on x (B, T, *input_shape), in float64."""
    steppers = [Stepper(each, len(x)) for each in (program, other)]
    differ = dict.fromkeys((layer.name for layer in program.spiking), 0.0)
    for t in range(x.shape[1]):
        ours, theirs = (stepper.step(x[:, t].astype(np.float64)) for stepper in steppers)
        for name in differ:
            differ[name] += float(np.mean(ours[name] != theirs[name])) / x.shape[1]
    return differ
