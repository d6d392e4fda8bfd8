"""What a forward changes in place: where nobody reads that memory afterwards, ``y += z`` is ``y = y + z``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from convert.modules import layers
from convert.modules.functions import MODULES, arguments
from convert.modules.nodes import called, place
from spikestrip.errors import Refused

AUGMENTED: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
"""``y += z`` and the like -> the operator that gives the same."""

FRESH = {
    operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, torch.add, torch.sub, torch.mul,
    torch.div, torch.neg, torch.cat, torch.concat, torch.stack, functional.linear, functional.layer_norm, getattr,
    "size",
}  # fmt: skip
"""Functions whose result shares no memory with what they take; of all others it may with the first, as a view's."""


def _recorded(operation: Any) -> Callable[..., fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy("call_function", operation, (self, other), {})


class StreamProxy(fx.Proxy):
    """A value of a graph that tells ``y += z``, which changes what others read as y, from ``y = y + z``."""

    __iadd__ = _recorded(operator.iadd)
    __isub__ = _recorded(operator.isub)
    __imul__ = _recorded(operator.imul)
    __itruediv__ = _recorded(operator.itruediv)


def settle(root: nn.Module, graph: fx.Graph) -> None:
    """Make every ``y += z`` of ``graph`` a ``y = y + z``.

    Raises Refused for one, or for a layer or function with inplace=True, that changes memory which is read afterwards,
    which a neuron may hold, or which isn't of this step.
    """
    order = {node: at for at, node in enumerate(graph.nodes)}
    changes = [node for node in graph.nodes if _changes(root, node)]
    for node in changes:
        for shared in _sharing(root, node):
            if shared.op in ("placeholder", "get_attr") or _is_held(root, shared):
                raise _refusal(node, f"what {shared.name!r} holds")
            reader = next((user for user in shared.users if order[user] > order[node]), None)
            if reader is not None:
                raise _refusal(node, f"what {reader.name!r} reads after it")
    for node in changes:
        node.target = AUGMENTED.get(node.target, node.target)


def _changes(root: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    names = ("input", *MODULES.get(node.target, ((),))[0])
    if "inplace" in names:
        return bool(arguments(place(node), node, names)[names.index("inplace")])
    return node.target in AUGMENTED


def _sharing(root: nn.Module, node: fx.Node) -> Iterator[fx.Node]:
    """All that may lie in the memory that ``node`` changes, but for its own result."""
    waiting, found = node.all_input_nodes[:1], {node}
    while waiting:
        shared = waiting.pop()
        if shared in found:
            continue
        found.add(shared)
        yield shared
        if not _is_fresh(root, shared):
            waiting += shared.all_input_nodes[:1]
        waiting += [user for user in shared.users if not _is_fresh(root, user)]


def _is_fresh(root: nn.Module, node: fx.Node) -> bool:
    """True where the result of ``node`` shares no memory with what it takes."""
    if node.op != "call_module":
        return node.op == "output" or node.target in FRESH
    module = root.get_submodule(str(node.target))
    return not _is_layer(module) or any(True for _ in module.parameters(recurse=False))


def _is_held(root: nn.Module, node: fx.Node) -> bool:
    """True for what a library's neuron returns: it may keep it for the next step."""
    return node.op == "call_module" and not _is_layer(root.get_submodule(str(node.target)))


def _is_layer(module: nn.Module) -> bool:
    return layers.kind(module) is not None


def _refusal(node: fx.Node, what: str) -> Refused:
    how = "changes" if node.op == "call_module" else f"calls {called(node)}(), which changes"
    way_out = "write y = y + z, not y += z" if node.target in AUGMENTED else "set inplace=False"
    return Refused(place(node), f"{how} in place {what}; {way_out}")
