"""From an operation to its NIR node: a plain one where NIR says the same thing, else a nested graph (bodies.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from convert.formats.nir.writing import bodies, frames
from convert.formats.nir.writing.bodies import StreamShapes, strict, undamped
from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Join,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
    SumPool2d,
    Threshold,
)

VERSION = 1


def encode(operation: Operation, streams: StreamShapes) -> nir.NIRNode:
    """The canonical node of ``operation``. Raises Refused(kind, reason) for parameters that NIR can't say."""
    encoder = ENCODERS.get(type(operation), _poisoned)
    dynamic = isinstance(operation, LIF | RefractoryLIF | LeakyIntegrator | S4D | Threshold)
    double = operation.bind(lambda array: array.astype(np.float64)) if dynamic else operation
    node = encoder(double, streams)
    _check_types(node, streams)
    if type(operation) not in (Affine, Scale):  # those hold their arrays exactly
        node.metadata = metadata(operation)
    return node


def _check_types(node: nir.NIRNode, streams: StreamShapes) -> None:
    """nir's type check leaves out groups and takes every kernel for square: a file with such a node can't be read."""
    for types, shape in ((node.input_type, streams.entering), (node.output_type, streams.leaving)):
        taken = next(iter(types.values()))
        if taken is not None and tuple(taken) != streams.lift(np.empty(shape)).shape:
            name = type(node).__name__
            raise Refused(name, f"{name}: nir's type check takes a stream of {shape} for {tuple(map(int, taken))}")


def op_name(operation: Operation) -> str:
    """The ``spikestrip_op`` of ``operation``: its kind, with the soft reset named apart."""
    return "lif_soft" if isinstance(operation, LIF) and operation.reset_kind == "soft" else operation.kind


def metadata(operation: Operation) -> dict[str, Any]:
    """All that decides what ``operation`` does, exactly."""
    name = {"spikestrip_op": op_name(operation), "spikestrip_version": VERSION}
    return name | operation.attributes() | operation.arrays()


def is_poisoned(node: nir.NIRNode) -> bool:
    """True for a body of NaN: the operation that it stands for has no exact body."""
    return isinstance(node, nir.NIRGraph) and bodies.POISON in node.nodes


def _affine(operation: Affine, streams: StreamShapes) -> nir.NIRNode:
    # NIR has a matrix for every row of a stream
    rows = streams.lift(np.empty(streams.entering)).shape[:-1]
    weight = np.broadcast_to(operation.weight, (*rows, *operation.weight.shape))
    if operation.bias is None:
        return nir.Linear(weight=weight)
    return nir.Affine(weight=weight, bias=np.broadcast_to(operation.bias, (*rows, *operation.bias.shape)))


def _scale(operation: Scale, streams: StreamShapes) -> nir.NIRNode:
    return nir.Scale(scale=streams.lift(operation.scale))


def _join(operation: Join, streams: StreamShapes) -> nir.NIRNode:
    return nir.Scale(scale=streams.lift(np.ones(streams.entering)))


def _lif(operation: LIF, streams: StreamShapes) -> nir.NIRNode:
    if operation.reset_kind == "soft":
        return bodies.lif_soft(operation, streams)
    zero = np.zeros(operation.decay.shape)
    gain = zero + 1 if operation.gain is None else operation.gain
    fire = {
        "v_threshold": streams.lift(strict(operation.threshold, operation.comparison)),
        "v_reset": streams.lift(zero if operation.v_reset is None else operation.v_reset),
    }
    if undamped(operation.decay):
        _no_bias(operation)
        return nir.IF(r=streams.lift(gain), **fire)
    tau = 1 / (1 - operation.decay)
    bias = zero if operation.bias is None else operation.bias
    return nir.LIF(tau=streams.lift(tau), r=streams.lift(tau * gain), v_leak=streams.lift(tau * bias), **fire)


def _li(operation: LeakyIntegrator, streams: StreamShapes) -> nir.NIRNode:
    gain = np.ones(operation.decay.shape) if operation.gain is None else operation.gain
    if undamped(operation.decay):
        _no_bias(operation)
        return nir.I(r=streams.lift(gain))
    return bodies.leaky(streams.lift(operation.decay), streams.lift(gain), operation.bias)


def _no_bias(operation: LIF | LeakyIntegrator) -> None:
    if operation.bias is not None and operation.bias.any():
        raise Refused(operation.kind, "has neurons without leak but with a bias; NIR's IF and I have none")


def _poisoned(operation: Operation, streams: StreamShapes) -> nir.NIRNode:
    return bodies.poison(streams)


ENCODERS: dict[type[Operation], Callable[[Any, StreamShapes], nir.NIRNode]] = {
    Affine: _affine,
    Scale: _scale,
    Join: _join,
    LIF: _lif,
    RefractoryLIF: bodies.lif_refractory,
    LeakyIntegrator: _li,
    S4D: bodies.s4d,
    Conv1d: frames.conv1d,
    Conv2d: frames.conv2d,
    SumPool2d: frames.pool,
    AvgPool2d: frames.pool,
    Flatten: frames.flatten,
    Delay: frames.delay,
    Threshold: frames.threshold,
}
