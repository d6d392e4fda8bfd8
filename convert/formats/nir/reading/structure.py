"""Nested graphs as one flat graph whose edges say which step's value they carry."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import nir
import numpy as np

from convert import cycles
from spikestrip.errors import BadInput
from spikestrip.operations import Shape
from spikestrip.program import INPUT


def shape_of(types: Any) -> Shape:
    """A shape as a node states it: one number or a row of them. Raises BadInput for what is none."""
    sizes = np.atleast_1d(types)
    if (
        sizes.ndim != 1
        or sizes.dtype.kind not in "iuf"
        or not ((sizes >= 1) & (sizes < 2**31) & (sizes % 1 == 0)).all()
    ):
        raise BadInput("graph", f"states the shape {str(types)[:80]}, not whole numbers from 1 up")
    return tuple(int(size) for size in sizes)


STATEFUL = (nir.LI, nir.LIF, nir.I, nir.IF, nir.CubaLI, nir.CubaLIF)


@dataclasses.dataclass
class Flat:
    """nodes: leaves by layer name; nested Inputs and Outputs are junctions among them.

    edges: (source, target, delayed). paths: layer name -> the node's own path in the file. scopes: layer name -> the
    metadata of the node and of the graphs around it, the nearest first.
    """

    nodes: dict[str, nir.NIRNode] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    scopes: dict[str, tuple[dict[str, Any], ...]] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str, bool]] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)

    def name(self, path: str) -> str:
        """A layer's name for the node at ``path``: letters, digits and underscores, and no other's."""
        base = re.sub(r"[^A-Za-z0-9_]", "_", path) or "node"
        name, number = base, 1
        while name in self.nodes or name == INPUT:
            name, number = f"{base}_{number}", number + 1
        return name


def flatten(graph: nir.NIRGraph) -> tuple[Flat, str, str]:
    """``graph`` without nesting, and the names of the junctions at its input and output."""
    flat = Flat()
    return (flat, *_add(flat, graph, "", ()))


def is_stateful(node: nir.NIRNode) -> bool:
    """True for a neuron or integrator, and for a graph that holds one."""
    if isinstance(node, nir.NIRGraph):
        return any(is_stateful(child) for child in node.nodes.values())
    return isinstance(node, STATEFUL)


def _add(flat: Flat, graph: nir.NIRGraph, path: str, around: tuple[dict[str, Any], ...]) -> tuple[str, str]:
    scope = (graph.metadata, *around)
    nodes, edges = _with_ends(graph, path)
    delayed, ambiguous = cycles.delayed_edges({name: is_stateful(node) for name, node in nodes.items()}, edges)
    for why, group in ambiguous:
        flat.remarks.append(
            f"ambiguous: a cycle with {why} ({', '.join(path + name for name in group)}) is run with one step of delay "
            "on each edge that enters a stateful node from inside it, which others may do otherwise"
        )
    enter: dict[str, str] = {}
    leave: dict[str, str] = {}
    for name, node in nodes.items():
        if "spikestrip_op" in node.metadata:
            raise BadInput(path + name, "carries a spikestrip_op, but the graph around it is not marked canonical")
        if isinstance(node, nir.NIRGraph):
            enter[name], leave[name] = _add(flat, node, f"{path}{name}/", scope)
        else:
            layer = flat.name(path + name)
            flat.nodes[layer] = node
            flat.paths[layer] = path + name
            flat.scopes[layer] = (node.metadata, *scope)
            enter[name] = leave[name] = layer
    flat.edges += [(leave[a], enter[b], (a, b) in delayed) for a, b in edges]
    return (
        next(enter[name] for name, node in nodes.items() if isinstance(node, nir.Input)),
        next(leave[name] for name, node in nodes.items() if isinstance(node, nir.Output)),
    )


def _with_ends(graph: nir.NIRGraph, path: str) -> tuple[dict[str, nir.NIRNode], list[tuple[str, str]]]:
    """Nodes and edges with exactly one Input and one Output; as ``nir`` does, a missing one is put at a loose end."""
    nodes, edges = dict(graph.nodes), list(graph.edges)
    where = path.rstrip("/") or "graph"
    for source, target in edges:
        if isinstance(nodes[target], nir.Input):
            raise BadInput(path + target, f"is an Input, and the edge {source} -> {target} enters it from inside")
        if isinstance(nodes[source], nir.Output):
            raise BadInput(path + source, f"is an Output, and the edge {source} -> {target} leaves it to the inside")
    for kind, end in ((nir.Input, 1), (nir.Output, 0)):
        found = [name for name, node in nodes.items() if isinstance(node, kind)]
        if len(found) > 1:
            raise BadInput(where, f"has several {kind.__name__} nodes ({', '.join(sorted(found))}); one is understood")
        if found:
            continue
        loose = sorted(set(nodes) - {edge[end] for edge in edges})
        if len(loose) != 1:
            raise BadInput(where, f"has no {kind.__name__} node, and {len(loose)} loose ends where it could stand")
        types = nodes[loose[0]].input_type if kind is nir.Input else nodes[loose[0]].output_type
        added = f"{kind.__name__.lower()}_{loose[0]}"
        nodes[added] = kind(next(iter(types.values()), None) if types else None)
        edges.append((added, loose[0]) if kind is nir.Input else (loose[0], added))
    return nodes, edges
