"""What a module's forward does in one step, as a graph of submodules (torch.fx), and the module left as it was."""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.lazy import LazyModuleMixin

from convert.modules import in_place, norse, own, spikingjelly
from convert.modules.nodes import ROOT
from spikestrip.errors import BadInput, Refused

LOOP = "make it one time step, `net(x[:, t])`, and keep the loop over t, and what collects its outputs, outside"

LIBRARIES = ("snntorch", "sinabs", "norse", "spikingjelly", "brevitas")
MODELS = ("spikingjelly.activation_based.model", "norse.torch.models")
"""Whole networks of LIBRARIES, followed as a user's own."""
LAYERS = ("torch.nn.", "torch.ao.", "torch._dynamo.", own.HOME)
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def rooted(module: nn.Module) -> nn.Module:
    """``module``, or with a lone layer in it, called "0", as in a Sequential.

    Raises Refused for a hook or a replaced forward, which may change what a submodule does.
    """
    root = nn.Sequential(module) if is_leaf(module) else module
    for name, submodule in root.named_modules():
        if submodule._forward_hooks or submodule._forward_pre_hooks:
            raise Refused(name or ROOT, "has a forward hook, which may change what it does; remove it first")
        if "forward" in vars(submodule):
            raise Refused(name or ROOT, "has a forward that was put in place of its class's own")
    return root


def trace(root: nn.Module, sizes: tuple[int, ...] | None = None) -> fx.Graph:
    """The graph of what ``root`` does in a call; ``sizes``: those of its input, as numbers that it can loop over.

    Raises Refused, naming the innermost submodule, when forward can't be followed without values, changes what a
    submodule holds (with ``sizes`` it may set states of neurons), or changes in place what is read afterwards.
    """
    before = _held(root)
    try:
        graph = _Tracer(sizes).trace(_followed(root))
    except BadInput:
        raise
    except Exception as error:  # whatever the user's code does with a value that isn't there yet
        raise _untraceable(ROOT, error) from error
    for (path, name), (value, changes) in _held(root).items():
        was = before.get((path, name), (None, -1))
        if sizes is not None and is_leaf(root.get_submodule(path)):
            continue
        if (was[0] is not value or was[1] != changes) and not name.startswith("_tensor_constant"):
            reason = f"has its {name!r} set in forward, which must be one time step: keep loops and resets outside"
            raise Refused(path or ROOT, reason)
    in_place.settle(root, graph)
    return graph


def is_leaf(module: nn.Module) -> bool:
    """True for a layer of torch, of LIBRARIES or ours, or of a class made from one: known whole, or not at all."""
    if _is_transparent(module):
        return False
    bases = (base.__module__ for base in type(module).__mro__ if base not in CONTAINERS)
    return any(
        (name.split(".")[0] in LIBRARIES or name.startswith(LAYERS)) and not name.startswith(MODELS) for name in bases
    )


def _is_transparent(module: nn.Module) -> bool:
    """True for a container of LIBRARIES that does to each step what is in it does."""
    return spikingjelly.is_container(module) or norse.is_container(module) or norse.is_lift(module)


class _InTurn(nn.Sequential):
    """What is in a container, one after another; norse's neurons return their state too, which the caller hands on."""

    def forward(self, x: Any) -> Any:
        for child in self._modules.values():  # of Lift too, which is no Sequential
            x = child(x)
            if norse.is_neuron(child) or norse.is_container(child):
                x = x[0]
        return x


def _followed(module: nn.Module) -> nn.Module:
    """``module``, or for a container another with the same children, which can be traced."""
    if not _is_transparent(module):
        return module
    if getattr(module, "return_hidden", False):
        raise Refused(ROOT, "has return_hidden=True, and a program one output; set it to False")
    return _InTurn(OrderedDict(module.named_children()))


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Whatever is done meanwhile, every submodule has its own attributes, parameters, buffers, states and hooks after.

    Lists and dictionaries keep their identity and get their content back; what is done to parameters and buffers is
    done to copies.
    Raises BadInput for what has no attributes of its own: compiled modules, and what is no module at all.
    """
    if not isinstance(module, nn.Module):
        raise BadInput(ROOT, f"is a {type(module).__name__}, no torch.nn.Module")
    saved = []
    for name, submodule in module.named_modules():
        if isinstance(submodule, torch.jit.ScriptModule):
            raise Refused(name or ROOT, "is compiled by torch.jit; give the module that it was made from")
        if type(submodule).__name__ == "OptimizedModule":
            raise Refused(
                name or ROOT, "is compiled by torch.compile; give the module that it was made from, ._orig_mod"
            )
        if isinstance(submodule, LazyModuleMixin) and submodule.has_uninitialized_params():  # type: ignore[misc]
            raise Refused(name or ROOT, f"is a {type(submodule).__name__} that has not run: call the module once first")
        for held in (submodule._parameters, submodule._buffers):
            for each, tensor in held.items():
                if tensor is not None and (tensor.is_meta or tensor.layout != torch.strided):
                    how = "is on the device meta, without its numbers" if tensor.is_meta else "is sparse: to_dense()"
                    raise Refused(name or ROOT, f"{each} {how}")
        own = vars(submodule)
        inner = [(value, value.copy()) for value in own.values() if isinstance(value, dict | list)]
        saved.append((own, dict(own), inner))
    try:
        copies: dict[int, nn.Parameter] = {}  # what two submodules share, they share in the copy
        for submodule in module.modules():
            buffers, parameters = submodule._buffers, submodule._parameters
            buffers.update({key: value.detach().clone() for key, value in buffers.items() if value is not None})
            for key, parameter in parameters.items():
                if parameter is not None and id(parameter) not in copies:
                    copies[id(parameter)] = copy.deepcopy(parameter)
                parameters[key] = copies.get(id(parameter))
        yield
    finally:
        for own, values, inner in saved:
            own.clear()
            own.update(values)
            for value, content in inner:
                value.clear()
                value.extend(content) if isinstance(value, list) else value.update(content)


def _held(root: nn.Module) -> dict[tuple[str, str], tuple[Any, int]]:
    """(path, name) -> value and, of a tensor, how often it was changed: all that the submodules hold."""
    held: dict[tuple[str, str], tuple[Any, int]] = {}
    for path, submodule in root.named_modules():
        own = vars(submodule)
        for name, value in (own | own["_parameters"] | own["_buffers"] | own["_modules"]).items():
            if isinstance(value, list | dict):
                held[path, name] = None, len(value)
            else:
                counted = isinstance(value, Tensor) and not value.is_inference()
                held[path, name] = value, value._version if counted else 0
    return held


class _Sized(in_place.StreamProxy):
    """An input whose sizes are known."""

    sizes: tuple[int, ...]

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.sizes)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.sizes)

    def __len__(self) -> int:
        return self.sizes[0]

    def __iter__(self) -> Iterator[fx.Proxy]:
        return iter([operator.getitem(self, place) for place in range(self.sizes[0])])


class _Tracer(fx.Tracer):
    def __init__(self, sizes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.sizes, self.named = sizes, False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        if self.sizes is None or self.named or node.op != "placeholder":
            return in_place.StreamProxy(node, self)
        self.named = True
        made = _Sized(node, self)
        made.sizes = self.sizes
        return made

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if norse.is_container(m):
            forward = partial(self._with_states, m)
        elif _is_transparent(m):
            forward = partial(_InTurn.forward, m)  # type: ignore[arg-type]
        try:
            return super().call_module(m, forward, args, kwargs)
        except BadInput:
            raise
        except Exception as error:
            raise _untraceable(self.path_of_module(m), error) from error

    def _with_states(self, m: nn.Module, x: Any, state: Any = None) -> Any:
        """norse's SequentialState, whose ``state`` is a list with one place for each child."""
        states = [None if state is None else state[place] for place in range(len(m._modules))]
        return type(m).forward(m, x, states)


def _untraceable(where: str, error: Exception) -> Refused:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if (isinstance(error, TypeError) and "Proxy" in said) or "cannot be iterated" in said:  # range(x.shape[1]); in x
        return Refused(where, f"its forward loops over values of its input: {LOOP}")
    return Refused(where, f"its forward can't be followed as one step without loops or decisions on values: {said}")
