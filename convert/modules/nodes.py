"""A node of a forward's graph, as messages name it."""

from __future__ import annotations

from torch import fx

ROOT = "module"
"""What errors call the module itself; its submodules have their dotted names."""


def called(node: fx.Node) -> str:
    """The name of what ``node`` calls."""
    return str(getattr(node.target, "__name__", node.target))


def place(node: fx.Node) -> str:
    """The path of the submodule that ``node`` calls, or in whose forward it stands."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack")
    return str(next(reversed(stack.values()))[0]) if stack else ROOT
