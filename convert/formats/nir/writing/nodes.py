"""From an operation to its NIR node: a plain one where NIR says the same thing, else a nested graph (bodies.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from convert.formats.nir.writing import bodies, frames, version1
from convert.formats.nir.writing.bodies import StreamShapes, no_bias, strict, undamped
from convert.formats.nir.writing.ties import rescaled
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
    Pad,
    RefractoryLIF,
    Scale,
    SumPool2d,
    Threshold,
)

VERSION = 2


def encode(operation: Operation, streams: StreamShapes, version: int = VERSION) -> nir.NIRNode:
    """The canonical node of ``operation`` as ``version`` of the format has it.

    Raises Refused(kind, reason) for parameters that NIR can't say.
    """
    encoders = ENCODERS if version == VERSION else ENCODERS | version1.ENCODERS
    encoder = encoders.get(type(operation), _poisoned)
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


def _pad(operation: Pad, streams: StreamShapes) -> nir.NIRNode:
    if len(streams.entering) > 1:
        return _poisoned(operation, streams)
    placed = np.eye(streams.leaving[0], streams.entering[0], -operation.before, dtype=np.float32)
    return nir.Linear(weight=streams.lift(placed))


def _lif(operation: LIF, streams: StreamShapes) -> nir.NIRNode:
    if operation.reset_kind == "soft":
        return bodies.lif_soft(operation, streams)
    zero = np.zeros(operation.decay.shape)
    gain, bias, v_reset = (
        default if array is None else array
        for array, default in ((operation.gain, zero + 1), (operation.bias, zero), (operation.v_reset, zero))
    )
    if undamped(operation.decay):
        no_bias(operation)
        threshold = strict(operation.threshold, operation.comparison)
        return nir.IF(r=streams.lift(gain), v_threshold=streams.lift(threshold), v_reset=streams.lift(v_reset))
    unit, factor = rescaled(operation.decay)
    return nir.LIF(
        tau=streams.lift(1 / (1 - operation.decay)),
        r=streams.lift(factor * gain),
        v_leak=streams.lift(factor * bias),
        v_threshold=streams.lift(strict(unit * operation.threshold, operation.comparison)),
        v_reset=streams.lift(unit * v_reset),
    )


def _poisoned(operation: Operation, streams: StreamShapes) -> nir.NIRNode:
    return bodies.poison(streams)


ENCODERS: dict[type[Operation], Callable[[Any, StreamShapes], nir.NIRNode]] = {
    Affine: _affine,
    Scale: _scale,
    Join: _join,
    LIF: _lif,
    RefractoryLIF: bodies.lif_refractory,
    LeakyIntegrator: bodies.li,
    S4D: bodies.s4d,
    Conv1d: frames.conv1d,
    Conv2d: frames.conv2d,
    SumPool2d: frames.pool,
    AvgPool2d: frames.pool,
    Flatten: frames.flatten,
    Pad: _pad,
    Delay: frames.delay,
    Threshold: frames.threshold,
}
