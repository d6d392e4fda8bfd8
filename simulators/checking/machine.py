"""One way of running a graph: rules, number format, delays; and what it fired."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Literal

import nir
import numpy as np

from convert.formats.nir.reading import standard
from convert.formats.nir.reading.loading import Loaded
from convert.formats.nir.reading.rules import Rules
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, UNBOUNDED, Affine, Delay, MultiSpikeLIF, Operation
from spikestrip.program import Layer, Program

Dtype = Literal["float64", "float32"]
Late = Literal["synapse", "neuron"] | None
Edit = Callable[[nir.NIRNode], None]
"""Changes one node of a copy of the graph in place, by giving it new arrays."""
OUTPUT = "the output"
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
"""How far graded outputs may be apart, relative to the reference's largest, and still count as the same."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """rules: of the reader. late: what answers one step later than NIR says. edits: done before the graph is read.

    several: what NIR reads as an LIF (without bias) sends as many spikes in a step as its threshold fits into u.
    """

    rules: Rules
    dtype: Dtype = "float64"
    late: Late = None
    several: bool = False
    edits: tuple[Edit, ...] = ()

    def program(self, loaded: Loaded) -> Program:
        """The program of ``loaded`` on this machine. Raises BadInput(node, reason)."""
        if self.edits:
            loaded = dataclasses.replace(loaded, graph=edited(loaded.graph, self.edits))
        program, _ = standard.program(loaded, self.rules)
        if self.several:
            program = _with(program, lambda layer: [dataclasses.replace(layer, operation=_several(layer.operation))])
        if self.late is not None:
            kind: type[Operation] = Affine if self.late == "synapse" else LIF
            program = _with(
                program, lambda layer: _one_late(program, layer) if isinstance(layer.operation, kind) else [layer]
            )
        return program


def edited(graph: nir.NIRGraph, edits: tuple[Edit, ...]) -> nir.NIRGraph:
    """A copy of ``graph`` with all ``edits`` done to every leaf, in order."""
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            nodes[name] = edited(node, edits)
            continue
        nodes[name] = copy.copy(node)
        for edit in edits:
            edit(nodes[name])
    return nir.NIRGraph(nodes, graph.edges, metadata=graph.metadata, type_check=False)


def _several(operation: Operation) -> Operation:
    if not isinstance(operation, LIF):
        return operation
    zero = np.zeros_like(operation.threshold)
    return MultiSpikeLIF(operation.threshold, zero + UNBOUNDED, operation.decay, operation.gain)


def _one_late(program: Program, layer: Layer) -> list[Layer]:
    """``layer`` under another name, and under its own what it said one step before."""
    early = f"{layer.name}_early"
    steps = np.ones(program.shapes[layer.name], np.int64)
    return [dataclasses.replace(layer, name=early), Layer(layer.name, Delay.of(steps), (early,))]


def _with(program: Program, change: Callable[[Layer], list[Layer]]) -> Program:
    layers = tuple(new for layer in program.layers for new in change(layer))
    return dataclasses.replace(program, layers=layers)


@dataclasses.dataclass(frozen=True)
class Fired:
    """spikes: layer -> (B, T, N); output: the graded output (B, T, N), or None where the output is spikes."""

    spikes: dict[str, np.ndarray]
    output: np.ndarray | None
    dtype: Dtype

    @property
    def count(self) -> int:
        return int(sum(train.sum() for train in self.spikes.values()))

    def differs(self, reference: Fired) -> dict[str, np.ndarray]:
        """Layer -> (B, T, N) bool, where this run and ``reference`` differ; a graded output last, beyond rounding."""
        wrong = {name: train != reference.spikes[name] for name, train in self.spikes.items()}
        if self.output is not None and reference.output is not None:
            size = np.abs(reference.output).max(initial=0.0)
            wrong[OUTPUT] = ~(np.abs(self.output - reference.output) <= TOLERANCE[self.dtype] * size)
        return wrong

    def same(self, reference: Fired) -> bool:
        return not any(wrong.any() for wrong in self.differs(reference).values())


def fire(program: Program, x: np.ndarray, dtype: Dtype, spiking: tuple[str, ...]) -> Fired:
    """Run ``program`` on x (B, T, *input_shape) in numpy and record the layers ``spiking``.

    Raises BadInput naming a layer that overflows.
    """
    stepper = Stepper(program, len(x), np, lambda array: array.astype(dtype))
    inputs = x.astype(dtype)
    seen: dict[str, list[np.ndarray]] = {name: [] for name in (*spiking, program.output)}
    with np.errstate(all="ignore"):  # an overflow ends in an error that names the layer
        for t in range(x.shape[1]):
            streams = stepper.step(inputs[:, t])
            for name, values in seen.items():
                values.append(streams[name].reshape(len(x), -1))
    stepper.check_finite()
    trains = {name: np.stack(values, axis=1) for name, values in seen.items()}
    output = None if program.output in spiking else trains[program.output]
    return Fired({name: trains[name] for name in spiking}, output, dtype)
