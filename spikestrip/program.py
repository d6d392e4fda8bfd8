"""The program: the iterative network as data, in the order in which a chip would run it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from spikestrip.errors import BadInput, Refused
from spikestrip.operations import MultiSpikeIF, Operation, Shape, SpikingOperation

INPUT = "input"
Readout = Literal["sequence", "mean", "count"]
SHOWN = 6  # layers that a repr names
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Layer:
    """An operation with a name and the layers that feed it.

    Everything that enters is added, in the order of ``inputs`` and then ``delayed``, each sorted by name.
    ``inputs`` are read in the same step; ``delayed`` carry the previous step's value (0 at the first).
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()
    delayed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(sorted(self.inputs)))
        object.__setattr__(self, "delayed", tuple(sorted(self.delayed)))


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """An iterative network. Validated when made: shapes fit, names are unique, every input comes before its reader.

    input_shape: the shape of one input step, without batch and time.
    layers: in order of execution.
    output: the layer whose stream is the network's output.
    readout: "sequence": the output is that stream, (B, T, ...); "mean": it accumulates over time and the answer is its
        last value divided by T, (B, ...); "count": the answer is the sum of that stream over time, (B, ...): how often
        each output neuron fired.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    output: str
    readout: Readout = "sequence"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", tuple(int(size) for size in self.input_shape))
        object.__setattr__(self, "layers", tuple(self.layers))
        self._check_structure()
        _ = self.shapes

    def __getitem__(self, name: str) -> Layer:
        """The layer called ``name``. Raises KeyError, naming those that there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    def __repr__(self) -> str:
        kinds = ", ".join(f"{layer.name} ({layer.operation.kind})" for layer in self.layers[:SHOWN])
        more = f", ... {len(self.layers) - SHOWN} more" if len(self.layers) > SHOWN else ""
        return f"<Program {self.input_shape} -> {self.shapes[self.output]}, {len(self.layers)} layers: {kinds}{more}>"

    def _check_structure(self) -> None:
        if not self.layers:
            raise BadInput("program", "has no layers")
        if not self.input_shape or any(size < 1 for size in self.input_shape):
            raise BadInput("program", f"input shape {self.input_shape} is not a shape of at least one value")
        if self.readout not in get_args(Readout):
            raise BadInput("program", f"readout {self.readout!r} is not one of {', '.join(get_args(Readout))}")
        everyone = {layer.name for layer in self.layers} | {INPUT}
        known = {INPUT}
        for layer in self.layers:
            if not _NAME.fullmatch(layer.name):
                raise BadInput(layer.name, "a layer's name is made of letters, digits and underscores")
            if layer.name in known:
                raise BadInput(layer.name, "two layers bear this name")
            if not layer.inputs and not layer.delayed:
                raise BadInput(layer.name, "nothing enters this layer")
            for source in layer.inputs:
                if source not in known:
                    raise BadInput(layer.name, f"reads {source!r}, which doesn't run before it")
            for source in layer.delayed:
                if source not in everyone:
                    raise BadInput(layer.name, f"reads {source!r}, which doesn't exist")
            for name, array in layer.operation.arrays().items():
                if not np.isfinite(array).all():
                    raise BadInput(layer.name, f"{name} holds NaN or infinity")
            known.add(layer.name)
        if self.output not in known - {INPUT}:
            raise BadInput("program", f"output {self.output!r} is not a layer")

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of one step of every stream, the input included."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        pending = list(self.layers)
        while pending:  # a layer fed by delayed edges alone learns its shape from layers that run after it
            layer = next((layer for layer in pending if {*layer.inputs, *layer.delayed} & set(shapes)), None)
            if layer is None:
                raise BadInput(pending[0].name, "is fed by nothing that leads from the input")
            pending.remove(layer)
            entering = [shapes[source] for source in (*layer.inputs, *layer.delayed) if source in shapes]
            if len(set(entering)) > 1:
                raise BadInput(layer.name, f"adds streams of different shapes {sorted(set(entering))}")
            try:
                shapes[layer.name] = tuple(int(size) for size in layer.operation.output_shape(entering[0]))
            except BadInput as error:
                raise BadInput(layer.name, f"{error.where} {error.reason}") from error
        for layer in self.layers:
            for source in layer.delayed:
                if shapes[source] != self._entering(layer, shapes):
                    raise BadInput(layer.name, f"adds {source!r} of shape {shapes[source]} to another shape")
        return shapes

    @staticmethod
    def _entering(layer: Layer, shapes: dict[str, Shape]) -> Shape:
        return shapes[(*layer.inputs, *layer.delayed)[0]]

    def entering_shape(self, layer: Layer) -> Shape:
        """The shape of one step of what enters ``layer``."""
        return self._entering(layer, self.shapes)

    def state_shapes(self, layer: Layer) -> dict[str, Shape]:
        """The state variables of ``layer`` by name."""
        return layer.operation.state_shapes(self.entering_shape(layer))

    @cached_property
    def spiking(self) -> tuple[Layer, ...]:
        """The layers that spike, in order."""
        return tuple(layer for layer in self.layers if layer.operation.spiking)

    @cached_property
    def counting(self) -> tuple[Layer, ...]:
        """The layers that send several spikes in a step, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer.operation, MultiSpikeIF))

    @cached_property
    def neurons(self) -> dict[str, SpikingOperation]:
        """The operations of the layers that spike, by name, in order."""
        return {layer.name: layer.operation for layer in self.layers if isinstance(layer.operation, SpikingOperation)}

    @property
    def delayed_sources(self) -> tuple[str, ...]:
        """The streams that some layer reads one step later, sorted."""
        return tuple(sorted({source for layer in self.layers for source in layer.delayed}))

    def is_binary(self, layer: Layer) -> bool:
        """True when what enters ``layer`` is one stream of spikes (a sum of two is graded: it can be 2)."""
        sources = (*layer.inputs, *layer.delayed)
        return len(sources) == 1 and sources[0] in self._binary

    @cached_property
    def _binary(self) -> set[str]:
        """The streams of spikes: what neurons send, and what only moves or compares that."""
        found: set[str] = set()
        for layer in self.layers:
            alone = layer.operation.keeps_spikes and not layer.delayed and len(layer.inputs) == 1
            if layer.operation.spiking or (alone and layer.inputs[0] in found):
                found.add(layer.name)
        return found

    @cached_property
    def sha256(self) -> str:
        """A hash of all that decides a spike: structure, attributes, and every parameter to the last bit."""
        digest = hashlib.sha256()
        _update(digest, ["program", 1, list(self.input_shape), self.output, self.readout])
        for layer in self.layers:
            operation = layer.operation
            _update(digest, [layer.name, operation.kind, layer.inputs, layer.delayed, operation.attributes()])
            for name, array in sorted(operation.arrays().items()):
                _update(digest, [name, array.dtype.newbyteorder("<").str, array.shape])
                digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    @property
    def seed(self) -> int:
        """The seed of the random spikes; 0 when nothing is drawn."""
        seeds = (layer.operation.drawn_from() for layer in self.layers)
        return next((seed for seed in seeds if seed is not None), 0)

    def finish(self, stream: np.ndarray) -> np.ndarray:
        """The network's answer from its output stream (B, T, ...): (B, ...) by mean-pool or sum, or the stream."""
        if self.readout == "count":
            return np.asarray(stream.sum(axis=1))
        return stream[:, -1] / stream.shape[1] if self.readout == "mean" else stream


def chain(input_shape: Shape, layers: Iterable[tuple[str, Operation]], readout: Readout = "sequence") -> Program:
    """A program whose ``layers``, (name, operation), follow one another. Raises BadInput where the shapes don't fit."""
    built: list[Layer] = []
    for name, operation in layers:
        built.append(Layer(name, operation, (built[-1].name if built else INPUT,)))
    return Program(input_shape, tuple(built), built[-1].name if built else "", readout)


def at_sample(program: Program, first: int) -> Program:
    """``program`` for a part of a batch that begins at sample ``first``: random spikes are drawn by that number.

    Whoever runs a batch in parts runs each with this program; traces state the hash of the program itself.
    Raises Refused, naming the layer, where a later part would draw as if it were the first.
    """
    moved = [layer.operation.at_sample(first) for layer in program.layers]
    for layer, operation in zip(program.layers, moved, strict=True):
        if first and operation is layer.operation and operation.drawn_from() is not None:
            where = f"layer {layer.name} ({operation.kind})"
            raise Refused(where, f"draws at random, and can't begin at sample {first}: it has no at_sample")
    if all(operation is layer.operation for operation, layer in zip(moved, program.layers, strict=True)):
        return program
    pairs = zip(program.layers, moved, strict=True)
    return dataclasses.replace(
        program, layers=tuple(dataclasses.replace(layer, operation=operation) for layer, operation in pairs)
    )


def _update(digest: hashlib._Hash, value: object) -> None:
    digest.update(json.dumps(value, sort_keys=True).encode())
