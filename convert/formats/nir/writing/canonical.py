"""A program as a graph of standard primitives for forward Euler at dt = 1, and as a file (docs/nir-operations.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import nir

from convert.cycles import delayed_edges
from convert.formats.nir.platforms import dialects
from convert.formats.nir.writing.bodies import poison
from convert.formats.nir.writing.file import save
from convert.formats.nir.writing.names import RENAMED, as_text, free, from_text, renamed
from convert.formats.nir.writing.nodes import VERSION, StreamShapes, encode, is_poisoned
from convert.formats.nir.writing.ties import keeps_ties
from spikestrip.errors import BadInput, Refused
from spikestrip.files import atomic
from spikestrip.operations import Delay
from spikestrip.program import INPUT, Program

OUTPUT = "output"
CANONICAL = "canonical"


def write(program: Program, path: str | os.PathLike[str], dialect: str = CANONICAL) -> dict[str, str]:
    """Write ``program`` as a NIR file, whole or not at all: canonical, or for one importer (a key of DIALECTS).

    Returns the layers that the file holds under another name: old to new. Raises Refused, naming the layer, for
    what the file could not say exactly.
    """
    drawn = graph(program) if dialect == CANONICAL else dialects.graph(program, dialect)
    with atomic(path) as temporary:
        save(drawn, temporary)
    return from_text(drawn.metadata.get(RENAMED, ""))


def graph(program: Program) -> nir.NIRGraph:
    """The canonical NIR graph of ``program``: standard nodes, and nested graphs that carry their exact operation.

    Streams of one axis (H,) become rows (1, H), and the metadata says so. Raises Refused, naming the layer, for what
    NIR can't say: delays that its edges don't imply, layers that nothing reads, undamped among damped neurons.
    A layer with a name that the file needs for itself is renamed, as the metadata say.
    """
    _check_edges(program)
    names = free(program, {OUTPUT})
    program = renamed(program, names)
    guarding = free(program, {guard_name(program)})
    program, names = renamed(program, guarding), names | guarding
    made = dict(nodes(program))
    metadata = _metadata(program) | ({RENAMED: as_text(names)} if names else {})
    return nir.NIRGraph(nodes=made, edges=edges(program, list(made)[-2]), metadata=metadata)


def nodes(program: Program, version: int = VERSION) -> Iterator[tuple[str, nir.NIRNode]]:
    """Every node of the canonical graph by name, one after another, from the Input to the Output.

    ``version``: of the format; an older one is for reading, to hold a file against what it should be.
    """
    rows = has_rows(program)
    yield INPUT, nir.Input(_shape(program.input_shape, rows))
    poisoned = False
    for layer in program.layers:
        streams = StreamShapes(program.entering_shape(layer), program.shapes[layer.name], rows)
        try:
            node = encode(layer.operation, streams, version)
        except BadInput as error:
            raise Refused(layer.name, error.reason) from error
        poisoned = poisoned or is_poisoned(node)
        yield layer.name, node
    leaving = program.shapes[program.output]
    if poisoned:
        # a neuron turns NaN into silence, so the poison is repeated where nothing can swallow it
        guard = poison(StreamShapes(leaving, leaving, rows))
        guard.metadata = {"spikestrip_op": "guard", "spikestrip_version": VERSION}
        yield guard_name(program), guard
    yield OUTPUT, nir.Output(_shape(leaving, rows))


def has_rows(program: Program) -> bool:
    """True when every stream has one axis, so that it can be written as a row (1, H)."""
    return all(len(shape) == 1 for shape in program.shapes.values())


def guard_name(program: Program) -> str:
    """The key of the node that poisons the output: it sorts after the last layer."""
    return f"{program.output}_guard"


def edges(program: Program, last: str) -> list[tuple[str, str]]:
    """The edges between layers, and to the Output: from the output layer, or from its guard if that is the ``last``."""
    guarded = last == guard_name(program)
    drawn = [(source, layer.name) for layer in program.layers for source in sorted({*layer.inputs, *layer.delayed})]
    if not guarded:
        return [*drawn, (program.output, OUTPUT)]
    return [*drawn, (program.output, last), (last, OUTPUT)]


def _shape(shape: tuple[int, ...], rows: bool) -> tuple[int, ...]:
    return (1, *shape) if rows else shape


def _metadata(program: Program) -> dict[str, object]:
    rounding = " ".join(layer.name for layer in program.layers if not keeps_ties(layer.operation))
    return {
        "spikestrip": CANONICAL,
        "spikestrip_version": VERSION,
        "rows": has_rows(program),
        "order": " ".join(layer.name for layer in program.layers),
        "readout": program.readout,
        "dt": 1.0,
        "integrate": "euler",
    } | ({"ties_may_round": rounding} if rounding else {})


def _check_edges(program: Program) -> None:
    """An edge of NIR has no delay of its own: which ones are delayed must follow from the cycles."""
    stateful = {INPUT: False} | {
        layer.name: bool(program.state_shapes(layer)) and not isinstance(layer.operation, Delay)
        for layer in program.layers
    }
    for layer in program.layers:
        twice = {*layer.inputs} & {*layer.delayed}
        if twice or len(set(layer.inputs)) < len(layer.inputs) or len(set(layer.delayed)) < len(layer.delayed):
            raise Refused(layer.name, "is fed twice by one layer; NIR has one edge between two nodes")
    meant = {(source, layer.name) for layer in program.layers for source in layer.delayed}
    drawn = meant | {(source, layer.name) for layer in program.layers for source in layer.inputs}
    implied, _ = delayed_edges(stateful, drawn)
    for source, name in sorted(meant ^ implied):
        raise Refused(
            name,
            f"reads {source!r} {'with' if (source, name) in meant else 'without'} a delay, which NIR's edges don't "
            "say: only those that enter a stateful node from inside its cycle are delayed",
        )
    read = {source for source, _ in drawn} | {program.output}
    for layer in program.layers:
        if layer.name not in read:
            raise Refused(layer.name, "is read by nothing; NIR would make it a second output")
