"""The ways to cut a case. Each is a list of things that may go, and what is left of the case without some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from deploy.shrinking.case import Case
from deploy.shrinking.channels import channels
from spikestrip import inputs
from spikestrip.execution import Stepper
from spikestrip.operations import S4D, Affine, Operation
from spikestrip.program import INPUT, Layer, Program


@dataclasses.dataclass(frozen=True)
class Cut:
    """``count`` things that may go; ``keep(indices)`` is the case with only those (ascending), which may be invalid."""

    name: str
    count: int
    keep: Callable[[np.ndarray], Case]


def of_samples(case: Case) -> Cut:
    return Cut("samples", case.x.shape[0], case.of_samples)


def of_steps(case: Case) -> Cut:
    return Cut("steps", case.x.shape[1], case.of_steps)


def of_program(case: Case) -> Iterator[Cut]:
    """Neurons, channels of the input, modes of SSMs, and weights."""
    for axis in channels(case.program):
        yield Cut(f"channels of {axis.name}", axis.size, lambda kept, axis=axis: axis.keep(case, kept))  # type: ignore[misc]
    for layer in case.program.layers:
        if isinstance(layer.operation, S4D):
            yield _modes(case, layer)
    for layer in case.program.layers:
        if isinstance(layer.operation, Affine):
            yield from _weights(case, layer)


def _modes(case: Case, layer: Layer) -> Cut:
    def keep(kept: np.ndarray) -> Case:
        return case.with_operation(layer.name, lambda operation: _indexed(operation, ("a", "b", "c"), kept))

    return Cut(f"modes of {layer.name}", layer.operation.arrays()["a_re"].shape[0], keep)


def _indexed(operation: Operation, names: tuple[str, ...], kept: np.ndarray) -> Operation:
    fields: dict[str, Any] = {
        f"{name}_{part}": getattr(operation, f"{name}_{part}")[kept] for name in names for part in ("re", "im")
    }
    return dataclasses.replace(operation, **fields)


def _weights(case: Case, layer: Layer) -> Iterator[Cut]:
    for field in ("weight", "bias"):
        array = getattr(layer.operation, field)
        if array is None or not array.any():
            continue
        places = np.flatnonzero(array)

        def keep(kept: np.ndarray, field: str = field, places: np.ndarray = places) -> Case:
            gone = np.delete(places, kept)

            def zeroed(operation: Operation) -> Operation:
                values = getattr(operation, field).copy()
                values.flat[gone] = 0
                return dataclasses.replace(operation, **{field: values})

            return case.with_operation(layer.name, zeroed)

        yield Cut(f"{field} of {layer.name}", places.size, keep)


def of_layers(case: Case) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Whole layers, one try after the other: what follows a layer, what leads to it, one of its edges, itself."""
    names = [layer.name for layer in case.program.layers]
    for name in names[:-1]:
        yield f"what follows {name}", lambda name=name: _ending(case, name)  # type: ignore[misc]
    for name in reversed(names[:-1]):
        yield f"what leads to {name}", lambda name=name: _beginning(case, name)  # type: ignore[misc]
    for layer in case.program.layers:
        for source in {*layer.inputs, *layer.delayed} if len(layer.inputs) + len(layer.delayed) > 1 else ():
            yield f"the edge from {source} to {layer.name}", lambda n=layer.name, s=source: _unlinked(case, n, s)  # type: ignore[misc]
    for name in names:
        yield f"layer {name}", lambda name=name: _bypassed(case, name)  # type: ignore[misc]


def _ending(case: Case, name: str) -> Case:
    return dataclasses.replace(
        case, programs=tuple(_needed(program, program.layers, name) for program in case.programs)
    )


def _needed(program: Program, layers: tuple[Layer, ...], output: str, shape: tuple[int, ...] | None = None) -> Program:
    """What leads to ``output``; a stream of another name needs no mean any more, so that the readout is the stream."""
    edges = {layer.name: {*layer.inputs, *layer.delayed} for layer in layers}
    needed, pending = set(), [output]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(edges.get(name, ()))
    kept = tuple(layer for layer in layers if layer.name in needed)
    readout = program.readout if output == program.output else "sequence"
    return Program(shape or program.input_shape, kept, output, readout)


def _beginning(case: Case, name: str) -> Case:
    """What a layer gives becomes the input."""
    program = case.program
    x = inputs.expand(case.x, program.input_shape).astype(np.float64)
    stepper = Stepper(program, len(x))
    stream = np.stack([stepper.step(x[:, t])[name] for t in range(x.shape[1])], axis=1)

    def begun(program: Program) -> Program:
        layers = tuple(
            dataclasses.replace(layer, inputs=_renamed(layer.inputs, name), delayed=_renamed(layer.delayed, name))
            for layer in program.layers
            if layer.name != name and INPUT not in {*layer.inputs, *layer.delayed}
        )
        return _needed(program, layers, program.output, program.shapes[name])

    return Case(tuple(begun(program) for program in case.programs), stream)


def _renamed(sources: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(INPUT if source == name else source for source in sources)


def _unlinked(case: Case, name: str, source: str) -> Case:
    def one(layer: Layer) -> Layer:
        if layer.name != name:
            return layer
        inputs, delayed = (tuple(s for s in edges if s != source) for edges in (layer.inputs, layer.delayed))
        return dataclasses.replace(layer, inputs=inputs, delayed=delayed)

    cut = case.with_layers(one)
    return _ending(cut, cut.program.output)


def _bypassed(case: Case, name: str) -> Case:
    """A layer gone, its readers fed by what fed it."""

    def one(program: Program) -> Program:
        gone = program[name]
        layers = tuple(
            dataclasses.replace(layer, inputs=_replaced(layer.inputs, gone), delayed=_replaced(layer.delayed, gone))
            for layer in program.layers
            if layer.name != name
        )
        output = gone.inputs[0] if program.output == name and gone.inputs else program.output
        return _needed(program, layers, output)

    return dataclasses.replace(case, programs=tuple(one(program) for program in case.programs))


def _replaced(sources: tuple[str, ...], gone: Layer) -> tuple[str, ...]:
    return tuple({kept for source in sources for kept in (gone.inputs if source == gone.name else (source,))})
