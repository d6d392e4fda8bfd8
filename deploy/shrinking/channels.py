"""Which channels of a program's streams are the same ones: an axis goes through every layer that doesn't mix it."""

from __future__ import annotations

import dataclasses

import numpy as np

from deploy.shrinking.case import Case
from spikestrip import inputs
from spikestrip.operations import GLU, Affine, Operation
from spikestrip.program import INPUT, Layer, Program


@dataclasses.dataclass(frozen=True)
class Axis:
    """One set of channels: the streams that have it, and those (what enters a GLU) that have it twice."""

    name: str
    size: int
    streams: frozenset[str]
    doubled: frozenset[str]

    def keep(self, case: Case, kept: np.ndarray) -> Case:
        """The case with only these channels."""
        twice = np.concatenate([kept, kept + self.size])

        def index(stream: str) -> np.ndarray | None:
            return kept if stream in self.streams else twice if stream in self.doubled else None

        def one(program: Program) -> Program:
            layers = tuple(
                dataclasses.replace(layer, operation=_indexed(layer, index(_source(layer)), index(layer.name)))
                for layer in program.layers
            )
            shape = program.input_shape
            return dataclasses.replace(
                program, layers=layers, input_shape=(len(kept),) if INPUT in self.streams else shape
            )

        x = inputs.expand(case.x, case.program.input_shape)[..., kept] if INPUT in self.streams else case.x
        return Case(tuple(one(program) for program in case.programs), x)


def channels(program: Program) -> list[Axis]:
    """The axes that can be cut, the largest first: none of a program whose streams have more than one."""
    if any(len(shape) != 1 for shape in program.shapes.values()):
        return []
    group = {stream: {stream} for stream in program.shapes}
    doubles: list[tuple[str, str]] = []
    for layer in program.layers:
        sources = [*layer.inputs, *layer.delayed]
        for source in sources[1:]:
            _join(group, sources[0], source)
        if isinstance(layer.operation, GLU):
            doubles.append((sources[0], layer.name))
        elif not isinstance(layer.operation, Affine):
            _join(group, sources[0], layer.name)
    axes = []
    for members in {id(members): members for members in group.values()}.values():
        doubled = {stream for source, out in doubles if out in members for stream in group[source]}
        halved = any(source in members for source, _ in doubles)
        size = program.shapes[next(iter(members))][0]
        if not halved and not doubled & members and _cuttable(program, members | doubled):
            axes.append(Axis(min(members), size, frozenset(members), frozenset(doubled)))
    return sorted(axes, key=lambda axis: (-axis.size, axis.name))


def _join(group: dict[str, set[str]], a: str, b: str) -> None:
    if group[a] is not group[b]:
        group[a] |= group[b]
        for stream in group[b]:
            group[stream] = group[a]


def _source(layer: Layer) -> str:
    return (*layer.inputs, *layer.delayed)[0]


def _cuttable(program: Program, streams: set[str]) -> bool:
    """Whether each array of every layer that has the axis ends in it."""
    for layer in program.layers:
        if layer.name in streams and not isinstance(layer.operation, Affine | GLU):
            size = program.shapes[layer.name][0]
            if any(array.shape[-1:] != (size,) for array in layer.operation.arrays().values()):
                return False
    return True


def _indexed(layer: Layer, entering: np.ndarray | None, leaving: np.ndarray | None) -> Operation:
    operation = layer.operation
    if isinstance(operation, Affine):
        weight, bias = operation.weight, operation.bias
        weight = weight if leaving is None else weight[leaving]
        weight = weight if entering is None else weight[:, entering]
        return dataclasses.replace(
            operation, weight=weight, bias=bias if bias is None or leaving is None else bias[leaving]
        )
    if leaving is None or not operation.arrays():
        return operation
    return dataclasses.replace(operation, **{name: array[..., leaving] for name, array in operation.arrays().items()})
