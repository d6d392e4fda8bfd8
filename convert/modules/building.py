"""From the graph of one step to a program: each call of a submodule, and each sum, as layers."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from convert.modules import diagonal, functions, layers, norse, own, refused, sinabs, spikingjelly
from convert.modules.functions import Constant, Sizes, arguments
from convert.modules.layouts import Taken
from convert.modules.neurons import STATES, Fired, add_neuron, is_neuron
from convert.modules.nodes import ROOT
from convert.modules.nodes import place as place_of
from convert.modules.program_builder import ProgramBuilder
from spikestrip.errors import Refused
from spikestrip.operations import Affine, Conv1d, Conv2d, Operation, Shape
from spikestrip.program import INPUT, Program


@dataclasses.dataclass(frozen=True)
class Built:
    """A program, and where the module's own values are in it.

    neurons: path of a spiking neuron -> the stream of its spikes; entering: of a library's neuron -> what enters it.
    states: those of diagonal SSMs in forward itself, each with its place in all that forward returns.
    arguments: argument of forward -> (path, place) of the neuron that takes it and returns the next one at that place;
    where the argument is a list of states, (argument, place in it) instead of its name.
    """

    program: Program
    neurons: dict[str, str]
    entering: dict[str, str]
    arguments: dict[State, tuple[str, int]]
    states: dict[diagonal.Next, int]


State = str | tuple[str, int]


def build(root: nn.Module, graph: fx.Graph, shape: Shape, taken: Taken) -> Built:
    """The program of ``graph``, whose names refer to ``root``, for steps of ``shape``.

    Raises Refused, naming the submodule, for what no operation says exactly.
    """
    walk = _Walk(root, ProgramBuilder(shape, most=6 * len(graph.nodes)), taken)
    for node in graph.nodes:
        walk.visit(node)
    return Built(walk.builder.program(walk.output), walk.neurons, walk.entering, walk.arguments, walk.states)


@dataclasses.dataclass(frozen=True)
class _Unreadable:
    """A value that is no stream of the program, and what is wrong with a layer that takes it."""

    reason: str


class _Walk:
    """values: what each node of the graph stands for: a stream, or what a neuron returns."""

    def __init__(self, root: nn.Module, builder: ProgramBuilder, taken: Taken) -> None:
        self.root, self.builder = root, builder
        self.remembers = taken.looped or norse.is_container(root)  # what norse's neurons return is given back to them
        self.values: dict[fx.Node, Any] = {}
        self.held: dict[fx.Node, diagonal.Next] = {}
        self.states: dict[diagonal.Next, int] = {}
        self.items: dict[fx.Node, tuple[str, int]] = {}  # path of a neuron, and which of its values
        self.neurons: dict[str, str] = {}
        self.entering: dict[str, str] = {}
        self.arguments: dict[State, tuple[str, int]] = {}
        self.output = ""

    def visit(self, node: fx.Node) -> None:
        where = place_of(node)
        if node.op == "placeholder":
            self.values[node] = diagonal.Held(str(node.target)) if self.values else INPUT
        elif node.op == "call_module":
            module = self.root.get_submodule(where)
            if is_neuron(module):
                self.values[node] = self._neuron(where, module, node)
            elif sinabs.is_neuron(module):
                self.values[node] = self._sinabs(where, module, node)
            elif spikingjelly.is_neuron(module):
                self.values[node] = self._spikingjelly(where, module, node)
            elif norse.is_neuron(module):
                self.values[node] = self._norse(where, module, node)
            elif own.is_own(module):
                self.values[node] = self._own(where, module, node)
            elif spikingjelly.is_voting(module):
                entering = self.stream(where, *arguments(where, node, ("x",)))
                voting = spikingjelly.voting(where, module, self.builder.shapes[entering])
                self.values[node] = self.builder.add(where, voting, entering)
            elif sinabs.is_sum_pool(module):
                entering = self.stream(where, *arguments(where, node, ("input",)))
                self.values[node] = self.builder.add(where, sinabs.sum_pool(where, module), entering)
            elif layers.kind(module) is not None:
                self.values[node] = self._layer(where, module, node)
            else:
                raise Refused(where, refused.reason(module))
        elif node.op in ("call_function", "call_method"):
            self.values[node] = self._function(where, node)
        elif node.op == "get_attr":
            self.values[node] = self._parameter(where, str(node.target))
        else:
            self._finish(node)

    def stream(self, where: str, value: Any) -> str:
        """The stream of ``value``, an argument of the call at ``where``."""
        if not isinstance(value, fx.Node):
            raise Refused(where, f"takes the constant {value!r}")
        found = self.values[value]
        if isinstance(found, Fired):
            raise Refused(where, f"takes all that {place_of(value)} returns, states too; make that init_hidden=True")
        if isinstance(found, diagonal.Held):
            raise Refused(where, f"takes the argument {found.argument!r}; only a neuron's or an SSM's state may be one")
        if isinstance(found, diagonal.Pair):
            raise Refused(where, f"takes {value.name!r}, which is complex; its .real is known")
        if isinstance(found, _Unreadable):
            raise Refused(where, found.reason)
        if isinstance(found, Constant):
            raise Refused(where, f"takes {value.name!r}, a constant: give it to the layer before, as its bias, say")
        if not isinstance(found, str):
            raise Refused(where, f"computes with the size {value.name!r}; only views do")
        return found

    def value(self, node: fx.Node) -> Any:
        return self.values[node]

    def shape(self, stream: str) -> Shape:
        return self.builder.shapes[stream]

    def add(self, name: str, made: Sequence[Operation], *inputs: str) -> str:
        """The stream after ``made``, one after another, of what enters the first."""
        stream, *more = inputs
        for operation in made:
            stream, more = self.builder.add(name, operation, stream, *more), []
        return stream

    def _parameter(self, where: str, name: str) -> Constant:
        value: Any = self.root
        for part in name.split("."):
            value = getattr(value, part)
        if not isinstance(value, Tensor):
            raise Refused(where, f"uses {name!r} in its forward, which is no tensor")
        held = value.detach().cpu()
        wide = torch.complex128 if held.is_complex() else torch.float64 if held.is_floating_point() else held.dtype
        return Constant(held.to(wide))

    def hold(self, node: fx.Node, state: diagonal.Next) -> None:
        self.held[node] = state

    def _layer(self, path: str, module: nn.Module, node: fx.Node) -> str:
        (source,) = arguments(path, node, ("x" if "x" in node.kwargs else "input",))
        entering = self.stream(path, source)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            synapse = self._read_once(source, entering)
            if synapse is not None:
                self.builder.replace(entering, layers.normed(path, module, synapse))
                return entering
        return self.add(path, layers.operations(path, module, self.builder.shapes[entering]), entering)

    def _read_once(self, source: fx.Node, stream: str) -> layers.Synapse | None:
        """The synapse that makes ``stream``, if its outputs are channels and nothing else reads them."""
        if source.op != "call_module" or len(source.users) > 1:
            return None
        if layers.kind(self.root.get_submodule(str(source.target))) not in (nn.Linear, nn.Conv1d, nn.Conv2d):
            return None
        made = self.builder.layers[stream].operation
        if isinstance(made, Affine) and len(self.builder.shapes[stream]) > 1:
            return None
        return made if isinstance(made, Affine | Conv1d | Conv2d) else None

    def _sinabs(self, path: str, module: Any, node: fx.Node) -> str:
        (source,) = arguments(path, node, ("input_data",))
        stream = sinabs.add_neuron(self.builder, path, module, self._enter(path, source))
        if module.spike_fn is not None:
            self.neurons[path] = stream
        return stream

    def _spikingjelly(self, path: str, module: Any, node: fx.Node) -> str:
        (source,) = arguments(path, node, ("x",))
        self.neurons[path] = spikingjelly.add_neuron(self.builder, path, module, self._enter(path, source))
        return self.neurons[path]

    def _own(self, path: str, module: Any, node: fx.Node) -> str:
        (source,) = arguments(path, node, ("x",))
        stream, neurons = own.add(self.builder, path, module, self._enter(path, source))
        self.neurons |= neurons
        return stream

    def _norse(self, path: str, module: Any, node: fx.Node) -> Fired:
        source, state = arguments(path, node, ("input_tensor", "state"))
        if isinstance(state, fx.Node):
            self._keep_list(path, state)
        elif not norse.takes_sequences(module) and not self.remembers:
            raise Refused(
                path,
                "is called without its state, so that it begins anew in each step; let forward take the state and "
                "return the next one, `forward(self, x, state=None)`, or give a SequentialState",
            )
        fired = norse.add_neuron(self.builder, path, module, self._enter(path, source))
        if norse.is_spiking(module):
            self.neurons[path] = fired.spikes
        return fired

    def _keep_list(self, path: str, state: fx.Node) -> None:
        """Note the argument of forward, or the place in one, that is the whole state of norse's neuron."""
        at: State = str(state.target)
        holder = state
        if _is_place(state):
            holder, place = cast(tuple[fx.Node, int], state.args)
            at = str(holder.target), place
        if holder.op != "placeholder" or len(state.users) > 1:
            raise Refused(path, "needs its state to be an argument of forward, or in a list that is one")
        self.arguments[at] = path, 1

    def _enter(self, path: str, source: Any) -> str:
        """The stream that enters the neuron at ``path``, which is called once."""
        if path in self.entering:
            raise Refused(path, "is called more than once; forward must be one time step, without the loop over time")
        self.entering[path] = self.stream(path, source)
        return self.entering[path]

    def _neuron(self, path: str, module: nn.Module, node: fx.Node) -> str | Fired:
        names = STATES[type(module).__name__]
        source, *states = arguments(path, node, ("input_", *names))
        if any(state is not None for state in states):
            self._keep(path, names, states)
        fired = add_neuron(self.builder, path, module, self._enter(path, source))
        self.neurons[path] = fired.spikes
        return fired.spikes if module.init_hidden and not module.output else fired

    def _keep(self, path: str, names: tuple[str, ...], states: list[Any]) -> None:
        """Note which arguments of forward are the neuron's states."""
        returned = ("spk", *(name for name in names if name != "spk"))
        for name, state in zip(names, states, strict=True):
            if not isinstance(state, fx.Node) or state.op != "placeholder" or len(state.users) > 1:
                raise Refused(path, f"needs {name!r} to be an argument of forward that only this neuron takes")
            self.arguments[str(state.target)] = path, returned.index(name)

    def _function(self, where: str, node: fx.Node) -> functions.Value | _Unreadable:
        if node.target is operator.getitem and not isinstance(self.values.get(node.all_input_nodes[0]), Constant):
            return self._item(where, node, *node.args)
        name = node.name if where == ROOT else f"{where}.{node.name}"
        if not functions.is_constant(self, node) and diagonal.concerns(self, node):
            return diagonal.call(self, where, name, node)
        return functions.call(self, where, name, node)

    def _item(self, where: str, node: fx.Node, source: Any, place: Any) -> functions.Value | _Unreadable:
        found = self.values[source]
        if _is_place(node) and isinstance(found, diagonal.Held):
            return _Unreadable(f"takes place {place} of {found.argument!r}; only a neuron's state may be one")
        if isinstance(found, Sizes):
            return functions.item(where, found, place)
        if not isinstance(found, Fired) or place not in range(len(found.states) + 1):
            raise Refused(where, f"takes item {place!r} of {source.name!r}, which no neuron returns")
        self.items[node] = place_of(source), place
        stream = (found.spikes, *found.states)[place]
        reason = f"reads the state of {place_of(source)}, which no stream holds (a membrane, where it is reset to zero)"
        return _Unreadable(reason) if stream is None else stream

    def _finish(self, node: fx.Node) -> None:
        """The first value that forward returns is the output; states may come after it."""
        first = node.args[0]
        while isinstance(first, tuple | list) and first:
            first = first[0]
        if not isinstance(first, fx.Node):
            raise Refused(ROOT, f"returns {first!r}, not a stream or a tuple that begins with one")
        found = self.values[first]
        self.output = found.spikes if isinstance(found, Fired) else self.stream(ROOT, first)
        if self.output == INPUT:
            raise Refused(ROOT, "returns its input; there is nothing to convert")
        returned: set[tuple[str, int]] = set()
        for value in node.all_input_nodes:
            made = self.values[value]
            if isinstance(made, Fired):
                returned |= {(place_of(value), place) for place in range(len(made.states) + 1)}
            elif value in self.items:
                returned.add(self.items[value])
            elif value in self.held:
                places = [place for place, each in enumerate(pytree.tree_leaves(node.args[0])) if each is value]
                if places[-1]:  # the first is the output
                    self.states[self.held[value]] = places[-1]
            elif value is not first and not _is_place(value):
                raise Refused(ROOT, f"returns {value.name} beside {first.name}; a program has one output")
        for name, state in self.arguments.items():
            if state not in returned:
                raise Refused(state[0], f"takes its state from {name!r}, but forward does not return the next one")
        names = [each.target for each in self.values if each.op == "placeholder"]
        order = sorted((names.index(held.argument), place) for held, place in self.states.items())
        if [place for _, place in order] != sorted(place for _, place in order):
            raise Refused(ROOT, "returns its states in another order than it takes them")
        for made, held in self.held.items():
            (taken,) = (each for each in self.values if each.op == "placeholder" and each.target == held.argument)
            if held not in self.states or len(taken.users) > 1:
                raise Refused(
                    place_of(made), f"needs {held.argument!r} to be used once, and its next value to be returned"
                )


def _is_place(node: fx.Node) -> bool:
    """True for a place in an argument of forward that is a list."""
    if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
        return False
    return node.args[0].op == "placeholder" and isinstance(node.args[1], int)
