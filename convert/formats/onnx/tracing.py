"""ONNX nodes from an operation's own ``step``: it runs once on symbols, and what it asks of them is written down.

So the writer has no equations of its own, and each file rounds in the order in which ``step`` rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper

from convert.formats.onnx.symbols import B, Namespace, Tape, Untraceable, Value
from spikestrip.operations import Operation, Shape


@dataclasses.dataclass(frozen=True)
class Body:
    """One operation as ONNX nodes: y, <state>_out = f(x, <state>..., <parameter>...).

    parameters: what each parameter holds; float arrays not yet cast to the dtype of the model.
    """

    nodes: tuple[onnx.NodeProto, ...]
    states: tuple[str, ...]
    parameters: dict[str, np.ndarray]

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", *self.states, *self.parameters)

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("y", *(f"{state}_out" for state in self.states))

    def named(self, name: Callable[[str], str]) -> list[onnx.NodeProto]:
        """The nodes with every value called as ``name`` says."""
        return [
            onnx.NodeProto(
                op_type=node.op_type,
                name=name(node.output[0]),
                input=map(name, node.input),
                output=map(name, node.output),
                attribute=node.attribute,
            )
            for node in self.nodes
        ]


def trace(operation: Operation, shape: Shape, dtype: str) -> Body:
    """``operation.step`` for inputs of ``shape`` in ``dtype``. Raises Untraceable."""
    tape = Tape(dtype)
    fields = iter(operation.arrays())
    # a step's parameters are numbers of the run's dtype; whole ones are stored as integers only by integer_body
    bound = operation.bind(
        lambda array: tape.parameter(next(fields), array if array.dtype.kind == "f" else array.astype(dtype))
    )
    shapes = operation.state_shapes(shape)
    state = {name: tape.value(name, (B, *state_shape), dtype) for name, state_shape in shapes.items()}
    if {"x", *shapes} & set(tape.parameters):
        raise Untraceable("a state and a parameter bear the same name")
    try:
        after, y = bound.step(Namespace(), dict(state), tape.value("x", (B, *shape), dtype))  # type: ignore[arg-type]
    except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError) as error:
        raise Untraceable(f"what arrays have and symbols lack ({error})") from error
    return finish(tape, {"y": y} | {f"{name}_out": after[name] for name in shapes}, tuple(shapes))


def finish(tape: Tape, results: dict[str, Value], states: tuple[str, ...] = ()) -> Body:
    """The body whose outputs are ``results``."""
    for name, result in results.items():
        if not isinstance(result, Value) or result.dtype != tape.dtype:
            raise Untraceable(f"{name} to be a {tape.dtype} array")
        tape.nodes.append(helper.make_node("Identity", [result.name], [name]))
    nodes = _without_copies(_used(tape.nodes, set(results)), set(results))
    used = {name for node in nodes for name in node.input}
    parameters = {name: array for name, array in tape.parameters.items() if name in used}
    return Body(tuple(nodes), states, parameters)


def _used(nodes: Sequence[onnx.NodeProto], results: set[str]) -> list[onnx.NodeProto]:
    """The nodes that a result needs."""
    needed, kept = set(results), []
    for node in reversed(nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _without_copies(nodes: Sequence[onnx.NodeProto], results: set[str]) -> list[onnx.NodeProto]:
    """Name values as the results that they become, and keep a copy only where a value is an input or two results."""
    made = {output for node in nodes for output in node.output}
    names: dict[str, str] = {}
    kept = []
    for node in nodes:
        source, target = (node.input or [""])[0], node.output[0]
        if node.op_type == "Identity" and target in results and source in made and source not in names:
            names[source] = target
        else:
            kept.append(node)
    return Body(tuple(kept), (), {}).named(lambda name: names.get(name, name))
