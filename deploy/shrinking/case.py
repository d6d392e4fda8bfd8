"""What is shrunk: a program, perhaps the faulty one that ran in its place, and an input."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from functools import cached_property

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations import Operation
from spikestrip.program import Layer, Program
from spikestrip.trace import input_sha256


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """programs: the right one first; then, if there is one, what really ran: the same layers, other parameters.

    x: (B, T, ...) as a run takes it. rows: of a recording, which of its samples these are.
    """

    programs: tuple[Program, ...]
    x: np.ndarray
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        described = [
            [(layer.name, layer.inputs, layer.delayed) for layer in program.layers] for program in self.programs
        ]
        shapes = [program.shapes for program in self.programs]
        if any(one != described[0] for one in described) or any(one != shapes[0] for one in shapes):
            raise BadInput("shrink", "the faulty program has other layers than the right one; give --check CMD instead")

    @property
    def program(self) -> Program:
        return self.programs[0]

    @cached_property
    def key(self) -> str:
        """A hash of all of it."""
        parts = [*(program.sha256 for program in self.programs), input_sha256(self.x), str(self.rows)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @property
    def size(self) -> str:
        """In words."""
        batch, steps = self.x.shape[:2]
        widest = max(int(np.prod(self.program.shapes[layer.name])) for layer in self.program.layers)
        return f"samples: {batch}, steps: {steps}, layers: {len(self.program.layers)}, neurons in the widest: {widest}"

    def of_samples(self, kept: np.ndarray) -> Case:
        rows = None if self.rows is None else tuple(self.rows[row] for row in kept)
        return dataclasses.replace(self, x=self.x[kept], rows=rows)

    def of_steps(self, kept: np.ndarray | slice) -> Case:
        return dataclasses.replace(self, x=self.x[:, kept])

    def with_layers(self, change: Callable[[Layer], Layer]) -> Case:
        programs = tuple(
            dataclasses.replace(program, layers=tuple(change(layer) for layer in program.layers))
            for program in self.programs
        )
        return dataclasses.replace(self, programs=programs)

    def with_operation(self, name: str, change: Callable[[Operation], Operation]) -> Case:
        """The operation of one layer changed, in each program."""

        def one(layer: Layer) -> Layer:
            return dataclasses.replace(layer, operation=change(layer.operation)) if layer.name == name else layer

        return self.with_layers(one)
