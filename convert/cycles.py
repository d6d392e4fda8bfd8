"""Which edges of a cyclic graph carry the previous step's value (docs/nir-operations.md, section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from spikestrip.errors import BadInput

Edge = tuple[str, str]


SEVERAL = "several stateful nodes"
ENTERED = "edges from outside that enter a node without state"


def delayed_edges(stateful: Mapping[str, bool], edges: Iterable[Edge]) -> tuple[set[Edge], list[tuple[str, list[str]]]]:
    """The edges that enter a stateful node from inside its cycle: they carry the previous step's value, all others the
    current one. ``stateful`` says it of every node.

    Also returns the cycles that are ambiguous, which others may run in another way, delaying another edge: why, and
    their nodes.
    """
    edges = list(edges)
    component = _components(stateful, edges)
    delayed = {(a, b) for a, b in edges if component[a] == component[b] and stateful[b]}
    members: dict[int, list[str]] = {}
    for node in stateful:
        members.setdefault(component[node], []).append(node)
    entered = {component[b] for a, b in edges if component[a] != component[b] and not stateful[b]}
    cyclic = {component[a] for a, b in edges if component[a] == component[b]}
    ambiguous = []
    for number, group in members.items():
        if sum(stateful[node] for node in group) > 1:
            ambiguous.append((SEVERAL, sorted(group)))
        elif number in entered & cyclic:
            ambiguous.append((ENTERED, sorted(group)))
    return delayed, ambiguous


def execution_order(nodes: Iterable[str], edges: Iterable[Edge]) -> list[str]:
    """``nodes`` so that each comes after those that feed it, alphabetical where the edges leave a choice.

    Raises BadInput naming a cycle: one that no stateful node interrupts can't be run.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter({node: () for node in nodes})
    for source, target in edges:
        sorter.add(target, source)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise BadInput(error.args[1][0], f"stands in a cycle without a stateful node ({cycle})") from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def _components(nodes: Iterable[str], edges: list[Edge]) -> dict[str, int]:
    """Strongly connected components, by Kosaraju's two passes."""
    forward: dict[str, list[str]] = {node: [] for node in nodes}
    backward: dict[str, list[str]] = {node: [] for node in forward}
    for source, target in edges:
        forward[source].append(target)
        backward[target].append(source)
    finished: list[str] = []
    seen: set[str] = set()
    for root in forward:
        finished += _finish(root, forward, seen)
    component: dict[str, int] = {}
    seen = set()
    for index, root in enumerate(reversed(finished)):
        component |= dict.fromkeys(_finish(root, backward, seen), index)
    return component


def _finish(root: str, successors: Mapping[str, list[str]], seen: set[str]) -> list[str]:
    """The unseen nodes reached from ``root``, in the order in which a depth-first search leaves them."""
    if root in seen:
        return []
    seen.add(root)
    left: list[str] = []
    stack = [(root, iter(successors[root]))]
    while stack:
        node, remaining = stack[-1]
        for target in remaining:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(successors[target])))
                break
        else:
            stack.pop()
            left.append(node)
    return left
