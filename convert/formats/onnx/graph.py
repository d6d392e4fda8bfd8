"""The graph of a program: one step, and the Scan that repeats it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper

from convert.formats.onnx.description import described
from convert.formats.onnx.integers import integer_body
from convert.formats.onnx.symbols import Untraceable
from convert.formats.onnx.tracing import Body, trace
from convert.lowering.int8 import affine
from spikestrip import __version__
from spikestrip.errors import BadInput, Refused
from spikestrip.program import INPUT, Layer, Program

Form = Literal["sequence", "step"]
Dtype = Literal["float32", "float64"]
OPSET = 18
IR_VERSION = 8  # the first that holds opset 18
DOMAIN = "spikestrip"


@dataclasses.dataclass(frozen=True)
class Export:
    """A model without its weights, and the weights by name; float arrays are not yet cast to ``dtype``."""

    model: onnx.ModelProto
    weights: dict[str, np.ndarray]
    dtype: Dtype


def export(
    program: Program,
    form: Form = "sequence",
    dtype: Dtype = "float32",
    *,
    functions: bool = False,
    int8: bool = False,
    source: str = "",
) -> Export:
    """``program`` as a model whose weights are still apart. ``source``: hash of the file that it came from.

    functions: an operation is a function of the model, else its nodes stand in the graph.
    int8: ``program`` was lowered by ``convert.lowering.int8``: write the weights that spikes reach as integers.
    Raises Refused naming the first layer that ONNX can't hold, BadInput for int8 of a program that wasn't lowered.
    """
    if form not in ("sequence", "step"):
        raise BadInput("form", f"is {form!r}, not sequence or step")
    if dtype not in ("float32", "float64"):
        raise BadInput("dtype", f"is {dtype!r}, not float32 or float64")
    step = _Step(program, dtype, functions, int8, suffix=".t" if form == "sequence" else "")
    graph = step.graph() if form == "step" else _scan(step)
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="spikestrip", producer_version=__version__)
    model.graph.CopyFrom(graph)
    model.opset_import.append(helper.make_opsetid("", OPSET))
    if functions:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        model.functions.extend(step.functions.values())
    facts = {
        "spikestrip_version": __version__,
        "program_sha256": program.sha256,
        "source_sha256": source,
        "form": form,
        "dtype": dtype,
        "weights": "int8" if int8 else dtype,
        "readout": program.readout,
        "program": described(program, step.weights, dtype),
    }
    helper.set_model_props(model, facts)
    return Export(model, step.weights, dtype)


def refuses(program: Program, layer: Layer, dtype: Dtype) -> str | None:
    """Why ``layer`` can't be written exactly in ``dtype``, or None when it can."""
    try:
        trace(layer.operation, program.entering_shape(layer), dtype)
    except Untraceable as reason:
        return f"ONNX can't say it: its step needs {reason}"
    return None


def states(program: Program) -> dict[str, tuple[int, ...]]:
    """Name and shape (without batch) of every state of the graph, in order: the layers' own, then delayed streams."""
    own = {
        f"{layer.name}.{state}": shape
        for layer in program.layers
        for state, shape in program.state_shapes(layer).items()
    }
    return own | {f"{source}.previous": program.shapes[source] for source in program.delayed_sources}


class _Step:
    """One step. Everything that lives only in this step, and its inputs and outputs, ends in ``suffix``."""

    def __init__(self, program: Program, dtype: Dtype, functions: bool, int8: bool, suffix: str) -> None:
        self.program, self.suffix, self._inlined = program, suffix, not functions
        self.element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.nodes: list[onnx.NodeProto] = []
        self.functions: dict[bytes, onnx.FunctionProto] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.states = states(program)
        for layer in program.layers:
            reason = refuses(program, layer, dtype)
            if reason is not None:
                raise Refused(f"layer {layer.name} ({layer.operation.kind})", reason)
            body = trace(layer.operation, program.entering_shape(layer), dtype)
            operation = affine(program, layer) if int8 else None
            if operation is not None:
                body = integer_body(layer.name, operation, dtype)
            self._add(layer, body, self._gather(layer))
        self._finish()

    def _stream(self, source: str) -> str:
        return f"x{self.suffix}" if source == INPUT else f"{source}.stream"

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _gather(self, layer: Layer) -> str:
        """Add what enters, in the order of Stepper."""
        sources = [self._stream(source) for source in layer.inputs]
        sources += [f"{source}.previous{self.suffix}" for source in layer.delayed]
        total = sources[0]
        for place, source in enumerate(sources[1:], 1):
            total = self._node("Add", [total, source], f"{layer.name}/sum_{place}")
        return total

    def _add(self, layer: Layer, body: Body, entering: str) -> None:
        names = {"x": entering, "y": self._stream(layer.name)}
        for state in body.states:
            names[state] = f"{layer.name}.{state}{self.suffix}"
            names[f"{state}_out"] = f"{layer.name}.{state}.out{self.suffix}"
        for parameter, array in body.parameters.items():
            names[parameter] = f"{layer.name}.{parameter}"
            self.weights[names[parameter]] = array
        if self._inlined:
            self.nodes += body.named(lambda value: names.get(value, f"{layer.name}/{value}"))
            return
        function = self._function(layer, body)
        inputs, outputs = ([names[value] for value in side] for side in (body.inputs, body.outputs))
        self.nodes.append(helper.make_node(function, inputs, outputs, name=layer.name, domain=DOMAIN))

    def _function(self, layer: Layer, body: Body) -> str:
        """The function of this body: layers that compute the same share it."""
        kind = layer.operation.kind
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_function(DOMAIN, kind, body.inputs, body.outputs, body.nodes, opset)
        key = made.SerializeToString()
        if key not in self.functions:
            variants = [each for each in self.functions.values() if each.name.split("__")[0] == kind]
            made.name = f"{kind}__{len(variants) + 1}" if variants else kind
            attributes = ", ".join(f"{name} = {value}" for name, value in layer.operation.attributes().items())
            made.doc_string = f"{type(layer.operation).__doc__}\n{attributes}".strip()
            self.functions[key] = made
        return self.functions[key].name

    def _finish(self) -> None:
        """Everything that leaves a step beside the layers' states."""
        self._node("Identity", [self._stream(self.program.output)], f"y{self.suffix}")
        for layer in self.program.spiking:
            train = self._stream(layer.name)
            if len(self.program.shapes[layer.name]) > 1:
                train = self._node("Flatten", [train], f"{layer.name}/flat", axis=1)
            self._node("Cast", [train], f"{layer.name}.spikes{self.suffix}", to=onnx.TensorProto.BOOL)
        for source in self.program.delayed_sources:
            self._node("Identity", [self._stream(source)], f"{source}.previous.out{self.suffix}")

    def signature(self, axes: tuple[str, ...], suffix: str) -> tuple[list[onnx.ValueInfoProto], ...]:
        """State inputs, state outputs, stream inputs and stream outputs; streams have ``axes`` before their shape."""
        value, program = helper.make_tensor_value_info, self.program
        state = partial(value, elem_type=self.element)
        before = [state(f"{name}{suffix}", shape=("B", *shape)) for name, shape in self.states.items()]
        after = [state(f"{name}.out{suffix}", shape=("B", *shape)) for name, shape in self.states.items()]
        inputs = [value(f"x{suffix}", self.element, (*axes, *program.input_shape))]
        outputs = [value(f"y{suffix}", self.element, (*axes, *program.shapes[program.output]))]
        for layer in program.spiking:
            size = math.prod(program.shapes[layer.name])
            outputs.append(value(f"{layer.name}.spikes{suffix}", onnx.TensorProto.BOOL, (*axes, size)))
        return before, after, inputs, outputs

    def graph(self) -> onnx.GraphProto:
        before, after, inputs, outputs = self.signature(("B",), self.suffix)
        if self.suffix:  # a Scan wants its states first
            return helper.make_graph(self.nodes, "step", before + inputs, after + outputs)
        return helper.make_graph(self.nodes, "step", inputs + before, outputs + after)


def _scan(step: _Step) -> onnx.GraphProto:
    before, after, inputs, outputs = step.signature(("L", "B"), "")
    scan = helper.make_node(
        "Scan", _names(before + inputs), _names(after + outputs), name="steps", num_scan_inputs=1, body=step.graph()
    )
    return helper.make_graph([scan], "sequence", inputs + before, outputs + after)


def _names(values: Iterable[onnx.ValueInfoProto]) -> list[str]:
    return [value.name for value in values]
