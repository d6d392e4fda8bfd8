"""Layers as they are appended, in order of execution, with the shapes of their streams."""

from __future__ import annotations

import dataclasses
import re

from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Operation, Shape
from spikestrip.program import INPUT, Layer, Program


class ProgramBuilder:
    """The layers so far. A name's number makes alphabetical order that of execution; ``most``: no more are added."""

    def __init__(self, shape: Shape, most: int) -> None:
        self.layers: dict[str, Layer] = {}
        self.shapes: dict[str, Shape] = {INPUT: shape}
        self.digits = max(2, len(str(most)))

    def add(self, path: str, operation: Operation, *inputs: str) -> str:
        """Append a layer for the submodule at ``path``; returns its stream. Raises Refused(path, ...) on misfits."""
        name = f"n{len(self.layers):0{self.digits}d}_{re.sub('[^A-Za-z0-9_]', '_', path)}"
        entering = {self.shapes[source] for source in inputs}
        if len(entering) > 1:
            raise Refused(path, f"adds streams of different shapes {sorted(entering)}")
        try:
            self.shapes[name] = operation.output_shape(entering.pop())
        except BadInput as error:
            raise Refused(path, error.reason) from error
        self.layers[name] = Layer(name, operation, inputs)
        return name

    def feed_back(self, source: str, target: str) -> None:
        """Let ``target`` read what ``source`` gave in the step before."""
        layer = self.layers[target]
        self.layers[target] = dataclasses.replace(layer, delayed=(*layer.delayed, source))

    def replace(self, stream: str, operation: Operation) -> None:
        """Let ``operation``, of the same shapes, make ``stream``."""
        self.layers[stream] = dataclasses.replace(self.layers[stream], operation=operation)

    def program(self, output: str) -> Program:
        """The program whose output is that stream, without the layers that it doesn't depend on."""
        needed: set[str] = {INPUT}
        pending = [output]
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending += [*self.layers[name].inputs, *self.layers[name].delayed]
        return Program(self.shapes[INPUT], tuple(self.layers[name] for name in self.layers if name in needed), output)
