"""A forward that loops over time, as the one step that it repeats.

torch.fx unrolls the loop; where every step is the same expression of its own input, that expression is the step. States
that a neuron returned in the step before are what it remembers anyway, so they are left out of it. What else a step
takes from the one before, and begins as zeros, is a state of forward's own: an argument of that step, and returned.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, fx, nn

from convert.modules import neurons, norse, spikingjelly
from convert.modules.layouts import Layout, Taken, layout
from convert.modules.nodes import ROOT
from convert.modules.tracing import LOOP, trace
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
    reads = [node for node in next(iter(graph.find_nodes(op="placeholder"))).users if node.target not in ZEROS]
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
        self.slots: dict[Hashable, int] = {}  # zeros that the first step begins with -> which state they are
        self.carried: dict[int, dict[fx.Node, int]] = {}  # into each step: what the step before made -> which state
        self.matched: set[tuple[fx.Node, fx.Node, int]] = set()
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
        handed_on = self._handed_on(outputs)
        first, *others = (self._number(output, step) for step, output in enumerate(outputs))
        if any(other != first for other in others):
            raise Refused(ROOT, f"loops over time with steps that differ: {LOOP}")
        leaving = Layout.TIME_FIRST if axis == 0 else Layout.BATCH_FIRST
        taken = Taken(self.entering, leaving, len(outputs), looped=True)
        for made in handed_on:
            if len({self._number(node, step) for step, node in enumerate(made)}) > 1:
                raise Refused(ROOT, f"loops over time with steps that differ: {LOOP}")
        step = min(map(len, [outputs, *handed_on])) - 1  # the last ones hand nothing on
        return self._copied(outputs[step], step, [made[step] for made in handed_on]), taken

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
        if self._slot(node, step) is not None:
            return "state", self._slot(node, step)
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
        return _called(node), self._plain((node.args, node.kwargs), step)

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

    def _handed_on(self, outputs: list[fx.Node]) -> list[list[fx.Node]]:
        """Of each state of forward's own, what each step but the last makes of it.

        The first step has zeros where the others have what the step before made: where they stand is found by going
        through both side by side, first from the outputs, then from what they hand on.
        """
        for step, output in enumerate(outputs[1:], 1):
            self._match(outputs[0], output, step)
        found: list[list[fx.Node]] = []
        while len(found) < len(self.slots):
            into = [{slot: node for node, slot in self.carried.get(step, {}).items()} for step in range(len(outputs))]
            found.append([each[len(found)] for each in into[1:] if len(found) in each])
            for step, made in enumerate(found[-1][1:], 1):
                self._match(found[-1][0], made, step)
        if any(len(made) < 3 for made in found):
            raise Refused(ROOT, f"loops over time with steps that differ: {LOOP}")
        return found

    def _match(self, first: fx.Node, node: fx.Node, step: int) -> None:
        """Go through an expression of the first step and one of ``step``; what differs otherwise is found later."""
        if (first, node, step) in self.matched:
            return
        self.matched.add((first, node, step))
        if _is_zero(self.root, first):
            slot = self.slots.setdefault(_name(first), len(self.slots))
            self.carried.setdefault(step, {}).setdefault(node, slot)
        elif _called(first) == _called(node) and not self._is_input(first, 0):
            pairs = zip(first.all_input_nodes, node.all_input_nodes, strict=False)
            remembers = first.op == "call_module" and self._remembers(first)
            for mine, theirs in list(pairs)[: 1 if remembers else None]:  # a neuron's states are its own
                self._match(mine, theirs, step)

    def _slot(self, node: fx.Node, step: int) -> int | None:
        if step == 0:
            return self.slots.get(_name(node)) if _is_zero(self.root, node) else None
        return self.carried.get(step, {}).get(node)

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

    def _copied(self, output: fx.Node, step: int, handed_on: list[fx.Node]) -> fx.Graph:
        """A graph of that step alone, whose input is its own, and whose states are arguments."""
        graph = fx.Graph()
        made: dict[fx.Node, fx.Node] = {}
        entering = graph.placeholder(self.input.name)
        for state, slot in sorted(self.carried.get(step, {}).items(), key=lambda each: each[1]):
            made[state] = graph.placeholder(f"state{slot}")
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

        returned = (copy(output), *map(copy, handed_on))
        graph.output(returned if handed_on else returned[0])
        return graph


ZEROS = ("new_zeros", torch.zeros_like)


def _is_zero(root: nn.Module, node: fx.Node) -> bool:
    """True for zeros that are made in forward."""
    if node.op == "get_attr" and str(node.target).startswith("_tensor_constant"):
        return not operator.attrgetter(str(node.target))(root).any()
    return node.target in ZEROS


def _called(node: fx.Node) -> Hashable:
    """What a node calls; a product with a tensor that is there, zeros say, is a method to torch.fx, others are not."""
    name = getattr(node.target, "__name__", node.target)
    return name if name in ("add", "mul", "sub", "matmul", "truediv") else (node.op, node.target)


def _name(zeros: fx.Node) -> Hashable:
    return zeros.target if zeros.op == "get_attr" else zeros


def _with_samples(value: Any, samples: fx.Node) -> Any:
    if type(value) is int and value == SAMPLES:
        return samples
    return type(value)(_with_samples(each, samples) for each in value) if type(value) in (tuple, list) else value
