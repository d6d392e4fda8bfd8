"""A forward that loops over time, as the one step that it repeats.

torch.fx unrolls the loop; where every step is the same expression of its own input, that expression is the step. States
that a neuron returned in the step before are what it remembers anyway, so they are left out of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, fx, nn

from convert.modules import neurons, norse, spikingjelly
from convert.modules.layouts import Layout, Taken, layout
from convert.modules.tracing import LOOP, ROOT, trace
from spikestrip.errors import BadInput, Refused

STEPS = 8
"""How often the example is repeated: enough for most neurons to fire, reset and fire again."""

SAMPLES = 97
"""Samples of the sequences that are traced: a number that nobody writes down, so that it can be told from others."""


def followed(root: nn.Module, shape: tuple[int, ...]) -> tuple[fx.Graph, Taken]:
    """The graph of one step of ``root``, for steps of ``shape``, and what a call of ``root`` takes.

    Raises Refused for what can't be followed, and for a loop whose steps differ or read other steps than their own.
    """
    own = layout(root)
    try:
        graph = trace(root)
    except Refused:
        found = _looped(root, shape)
        if found is None:
            raise
    else:
        found = _looped(root, shape) if _stacked(graph) else None
        if found is None:
            return graph, Taken(own, own, STEPS)
    if own is not Layout.STEP:
        raise Refused(ROOT, f"loops over time, and holds modules that take {own.value}; use one kind")
    return found


def _looped(root: nn.Module, shape: tuple[int, ...]) -> tuple[fx.Graph, Taken] | None:
    """The step that the forward of ``root`` repeats; None if it doesn't return a stack of steps."""
    for entering, sizes in (
        (Layout.TIME_FIRST, (STEPS, SAMPLES, *shape)),
        (Layout.BATCH_FIRST, (SAMPLES, STEPS, *shape)),
        (Layout.STEP, (SAMPLES, *shape)),
    ):
        try:
            graph = trace(root, sizes)
        except BadInput:  # it takes another layout
            continue
        outputs = _stacked(graph)
        if outputs is not None and _entering(graph) is entering:
            return _Fold(root, graph, entering).step(*outputs)
    return None


def _entering(graph: fx.Graph) -> Layout:
    """By how the input is read: x[t], x[:, t], or as it is."""
    reads = list(next(iter(graph.find_nodes(op="placeholder"))).users)
    if not all(node.target is operator.getitem for node in reads):
        return Layout.STEP
    first = [node.args[1][0] if isinstance(node.args[1], tuple) else node.args[1] for node in reads]
    if all(isinstance(index, int) for index in first):
        return Layout.TIME_FIRST
    return Layout.BATCH_FIRST if all(index == slice(None) for index in first) else Layout.STEP


def _returned(graph: fx.Graph) -> list[Any]:
    (output,) = graph.find_nodes(op="output")
    value = output.args[0]
    return list(value) if isinstance(value, tuple | list) else [value]


def _stacked(graph: fx.Graph) -> tuple[list[fx.Node], int] | None:
    """What torch.stack joins to the first value returned, and along which axis."""
    first = _returned(graph)[0]
    if not isinstance(first, fx.Node) or first.target is not torch.stack:
        return None
    parts = first.args[0] if first.args else first.kwargs.get("tensors")
    axis = first.args[1] if len(first.args) > 1 else first.kwargs.get("dim", 0)
    if not isinstance(parts, tuple | list) or len(parts) < 2 or not all(isinstance(each, fx.Node) for each in parts):
        return None
    return list(parts), axis  # type: ignore[return-value]


class _Fold:
    """numbers: each expression of one step -> its number, equal for equal expressions; calls: a neuron's, in order."""

    def __init__(self, root: nn.Module, graph: fx.Graph, entering: Layout) -> None:
        self.root, self.entering, self.graph = root, entering, graph
        self.input = next(iter(graph.find_nodes(op="placeholder")))
        self.numbers: dict[Hashable, int] = {}
        self.known: dict[tuple[fx.Node, int], int] = {}
        self.calls: dict[str, list[fx.Node]] = {}
        for node in graph.find_nodes(op="call_module"):
            if self._remembers(node):
                self.calls.setdefault(str(node.target), []).append(node)

    def step(self, outputs: list[fx.Node], axis: int) -> tuple[fx.Graph, Taken]:
        if self.entering is Layout.STEP and not self.calls:
            raise Refused(ROOT, "stacks values of one step; join them by cat")
        if axis not in (0, 1):
            raise Refused(ROOT, f"stacks its steps along axis {axis}; 0 or 1 is known")
        for value in _returned(self.graph)[1:]:
            self._check_beside(value)
        first, *others = (self._number(output, step) for step, output in enumerate(outputs))
        if any(other != first for other in others):
            raise Refused(ROOT, f"loops over time with steps that differ: {LOOP}")
        leaving = Layout.TIME_FIRST if axis == 0 else Layout.BATCH_FIRST
        steps = len(outputs)
        return self._copied(outputs[-1], steps - 1), Taken(self.entering, leaving, steps, looped=True)

    def _remembers(self, node: fx.Node) -> bool:
        module = self.root.get_submodule(str(node.target))
        return any(library.is_neuron(module) for library in (neurons, norse, spikingjelly))

    def _check_beside(self, value: Any) -> None:
        """After the output only what neurons return may be given back."""
        parts = value.args[0] if isinstance(value, fx.Node) and value.target is torch.stack else [value]
        for part in parts if isinstance(parts, tuple | list) else [parts]:
            source = part.args[0] if isinstance(part, fx.Node) and part.target is operator.getitem else part
            if isinstance(source, fx.Node) and not (source.op == "call_module" and self._remembers(source)):
                raise Refused(ROOT, f"returns {source.name} beside its output; a program has one")

    def _number(self, node: fx.Node, step: int) -> int:
        """The number of what ``node`` computes in ``step``. Raises Refused for what reads other steps."""
        if (node, step) not in self.known:
            made = self._expression(node, step)
            self.known[node, step] = self.numbers.setdefault(made, len(self.numbers))
        return self.known[node, step]

    def _expression(self, node: fx.Node, step: int) -> Hashable:
        if self._is_input(node, step):
            return "input"
        if node.op == "placeholder":
            raise Refused(ROOT, f"computes with {node.name!r} in its loop as a whole: {LOOP}")
        if node.op == "call_module" and self._remembers(node):
            path = str(node.target)
            if self.calls[path].index(node) != step:
                raise Refused(path, f"is not called once in each step, or read in the step after: {LOOP}")
            source, *states = [*node.args, *node.kwargs.values()]
            for state in states:
                self._check_state(path, state, step)
            return "neuron", path, self._number(source, step)  # type: ignore[arg-type]
        return node.op, node.target, self._plain((node.args, node.kwargs), step)

    def _is_input(self, node: fx.Node, step: int) -> bool:
        """True for x[step], x[:, step], or x itself where every step reads the same."""
        if self.entering is Layout.STEP:
            return node is self.input
        if node.target is not operator.getitem or node.args[0] is not self.input:
            return False
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        at = 0 if self.entering is Layout.TIME_FIRST else 1
        if len(index) <= at or index[at] not in (step, step - STEPS):
            raise Refused(ROOT, f"reads another step of its input than its own, or several: {LOOP}")
        return all(each is Ellipsis or each == slice(None) for place, each in enumerate(index) if place != at)

    def _check_state(self, path: str, state: Any, step: int) -> None:
        """None or zeros first, then what the call before returned."""
        if isinstance(state, fx.Node) and state.op == "get_attr":
            state = operator.attrgetter(str(state.target))(self.root)
        if state is None or (isinstance(state, Tensor) and not state.any()):
            if step == 0:
                return
            raise Refused(path, "begins anew in each step of the loop, so that it remembers nothing")
        before = state.args[0] if isinstance(state, fx.Node) and state.target is operator.getitem else None
        if step == 0 or before is not self.calls[path][step - 1]:
            raise Refused(path, f"takes a state that it did not return in the step before: {LOOP}")

    def _plain(self, value: Any, step: int) -> Hashable:
        if isinstance(value, fx.Node):
            return "node", self._number(value, step)
        if isinstance(value, tuple | list):
            return tuple(self._plain(each, step) for each in value)
        if isinstance(value, dict):
            return tuple((key, self._plain(each, step)) for key, each in value.items())
        return repr(value)

    def _copied(self, output: fx.Node, step: int) -> fx.Graph:
        """A graph of that step alone, whose input is its own."""
        graph = fx.Graph()
        made: dict[fx.Node, fx.Node] = {}
        entering = graph.placeholder(self.input.name)
        samples = graph.call_method("size", (entering, 0))

        def copy(node: fx.Node) -> fx.Node:
            if node in made:
                return made[node]
            if self._is_input(node, step):
                return entering
            held: Callable[[fx.Node], fx.Node] = copy
            if node.op == "call_module" and self._remembers(node):
                source = next(iter([*node.args, *node.kwargs.values()]))
                made[node] = graph.call_module(str(node.target), (copy(source),))  # type: ignore[arg-type]
                made[node].meta = dict(node.meta)
                return made[node]
            for needed in node.all_input_nodes:
                copy(needed)
            made[node] = graph.node_copy(node, held)
            if node.op == "call_method" or node.op == "call_function":
                made[node].args = tuple(_with_samples(value, samples) for value in made[node].args)
            return made[node]

        graph.output(copy(output))
        return graph


def _with_samples(value: Any, samples: fx.Node) -> Any:
    if type(value) is int and value == SAMPLES:
        return samples
    return type(value)(_with_samples(each, samples) for each in value) if type(value) in (tuple, list) else value
