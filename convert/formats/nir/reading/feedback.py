"""The first step of a loop: what a bias in it adds enters then too, though no spike has come back yet."""

from __future__ import annotations

import dataclasses

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations import (
    LIF,
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Join,
    LeakyIntegrator,
    Operation,
    Scale,
    SumPool2d,
)
from spikestrip.program import INPUT, Layer, Program

LINEAR = (Delay, Flatten, Join, Scale, SumPool2d)


def from_the_first_step(program: Program) -> tuple[Program, tuple[str, ...]]:
    """``program`` in which each bias on a delayed edge enters in every step, and the names of the layers that had one.

    A delayed edge is 0 in the first step, and so a bias behind it would come one step late. It moves into the bias of
    the layer that the edge enters: the same sum in every other step. Raises BadInput(layer, reason) where it can't.
    """
    moved: dict[str, None] = {}
    while True:
        quiet = _quiet(program)
        edge = next(
            ((layer, source) for layer in program.layers for source in layer.delayed if quiet[source].any()), None
        )
        if edge is None:
            return program, tuple(moved)
        target, source = edge
        moved[source] = None
        program = _moved(program, target, source, quiet)


def _quiet(program: Program) -> dict[str, np.ndarray]:
    """What each stream holds while nothing has entered and every state is 0."""
    values = {INPUT: np.zeros(program.input_shape)}
    for layer in program.layers:
        if program.state_shapes(layer):
            values[layer.name] = np.zeros(program.shapes[layer.name])
        else:  # a delayed edge here has been made 0, or will be
            entering = sum((values[source] for source in layer.inputs), np.zeros(program.entering_shape(layer)))
            values[layer.name] = np.asarray(layer.operation.step(np, {}, entering[None])[1][0], np.float64)
    return values


def _moved(program: Program, target: Layer, source: str, quiet: dict[str, np.ndarray]) -> Program:
    operations = {layer.name: layer for layer in program.layers}
    copies: dict[str, Layer] = {}

    def unbiased(name: str) -> str:
        """The layer that carries ``name`` without what it holds when all is quiet."""
        if not quiet[name].any():
            return name
        layer = operations[name]
        operation: Operation = layer.operation
        if isinstance(operation, Affine | Conv1d | Conv2d):
            operation = dataclasses.replace(operation, bias=None)
        elif not isinstance(operation, LINEAR):
            raise BadInput(name, f"is a {operation.kind} that sends something before the first step into its own cycle")
        own = name
        while own in operations:
            own += "_back"
        copies[name] = Layer(own, operation, tuple(map(unbiased, layer.inputs)), layer.delayed)
        return own

    delayed = tuple(unbiased(name) if name == source else name for name in target.delayed)
    raised = {target.name: target.operation}
    _raise(program, target, quiet[source], raised)
    layers: list[Layer] = []
    for layer in program.layers:
        later = delayed if layer.name == target.name else layer.delayed
        layers.append(Layer(layer.name, raised.get(layer.name, layer.operation), layer.inputs, later))
        if layer.name in copies:
            layers.append(copies[layer.name])
    for name in reversed(list(operations)):  # a copy takes the place of what nobody else reads
        read = {source for layer in layers for source in (*layer.inputs, *layer.delayed)}
        if name in copies and name not in read | {program.output}:
            copy = copies[name].name
            layers = [_renamed(layer, copy, name) for layer in layers if layer.name != name]
    return dataclasses.replace(program, layers=tuple(layers))


def _raise(program: Program, layer: Layer, constant: np.ndarray, raised: dict[str, Operation]) -> None:
    """Into ``raised``: the operations that hold ``constant``, added to what enters ``layer``, in their own bias."""
    operation = raised.get(layer.name, layer.operation)
    readers = [other for other in program.layers if layer.name in other.inputs]
    hidden = layer.name in (program.output, *program.delayed_sources)
    if isinstance(operation, LIF | LeakyIntegrator):
        added = constant if operation.gain is None else operation.gain * constant
        bias = added if operation.bias is None else operation.bias + added
        raised[layer.name] = dataclasses.replace(operation, bias=bias)
    elif isinstance(operation, Affine) and constant.ndim == 1:
        added = operation.weight @ constant
        bias = added if operation.bias is None else operation.bias + added
        raised[layer.name] = dataclasses.replace(operation, bias=bias)
    elif isinstance(operation, Join) and not hidden:  # where a nested graph begins
        for reader in readers:
            _raise(program, reader, constant, raised)
    else:
        raise BadInput(layer.name, f"is a {operation.kind} into which a bias leads back, and it has none of its own")


def _renamed(layer: Layer, old: str, new: str) -> Layer:
    def name(of: str) -> str:
        return new if of == old else of

    return Layer(name(layer.name), layer.operation, tuple(map(name, layer.inputs)), tuple(map(name, layer.delayed)))
