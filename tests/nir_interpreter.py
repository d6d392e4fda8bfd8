"""An interpreter that knows only NIR's standard nodes: NIR's equations, forward Euler at dt = 1, plain float64 numpy.

It reads no metadata and shares no code with the product. Streams have no batch axis. Where edges meet they add; an edge
that enters a stateful node from inside its cycle carries the previous step's value (0 at first), any other the current.
A nested graph is one node of the graph around it, stateful if anything in it is.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

STATEFUL = (nir.LI, nir.LIF, nir.I, nir.IF, nir.CubaLI, nir.CubaLIF)


class Graph:
    """One graph, with the state of its nodes. ``step`` takes one step's input and returns the value of every node."""

    def __init__(self, graph: nir.NIRGraph) -> None:
        self.nodes = {
            name: Graph(node) if isinstance(node, nir.NIRGraph) else node for name, node in graph.nodes.items()
        }
        self.edges = list(graph.edges)
        self.reach = {name: self._reach(name) for name in self.nodes}
        self.memory: dict[str, Any] = {}
        self.previous: dict[str, Any] = {}
        self.output = next(name for name, node in self.nodes.items() if isinstance(node, nir.Output))
        self.stateful = any(self._stateful(name) for name in self.nodes)

    def _reach(self, start: str) -> set[str]:
        found: set[str] = set()
        frontier = [start]
        while frontier:
            name = frontier.pop()
            for a, b in self.edges:
                if a == name and b not in found:
                    found.add(b)
                    frontier.append(b)
        return found

    def _stateful(self, name: str) -> bool:
        node = self.nodes[name]
        return node.stateful if isinstance(node, Graph) else isinstance(node, STATEFUL)

    def step(self, x: np.ndarray) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}

        def value(name: str) -> np.ndarray:
            if name in values:
                return values[name]
            node = self.nodes[name]
            if isinstance(node, nir.Input):
                values[name] = x
                return x
            total = np.float64(0)
            for a, b in self.edges:
                if b == name:
                    is_previous = self._stateful(name) and a in self.reach[name]
                    total = total + (self.previous.get(a, np.float64(0)) if is_previous else value(a))
            values[name] = node.step(total)[node.output] if isinstance(node, Graph) else self.apply(name, node, total)
            return values[name]

        for name in self.nodes:
            value(name)
        self.previous = values
        return values

    def apply(self, name: str, node: nir.NIRNode, x: np.ndarray) -> np.ndarray:
        match node:
            case nir.Output():
                return x
            case nir.Affine():
                return (node.weight.astype(float) @ x[..., None])[..., 0] + node.bias
            case nir.Linear():
                return (node.weight.astype(float) @ x[..., None])[..., 0]
            case nir.Scale():
                return node.scale * x
            case nir.Threshold():
                return (x > node.threshold).astype(float)
            case nir.Conv1d():
                return conv1d(node, x)
        v = self.memory.get(name, np.float64(0))
        match node:
            case nir.I() | nir.IF():
                v = v + node.r * x
            case nir.LI() | nir.LIF():
                v = v + ((node.v_leak - v) + node.r * x) / node.tau
            case _:
                raise NotImplementedError(type(node).__name__)
        if isinstance(node, nir.I | nir.LI):
            self.memory[name] = v
            return v
        spikes = v > node.v_threshold
        self.memory[name] = np.where(spikes, node.v_reset, v)
        return spikes.astype(float)


def conv1d(node: nir.Conv1d, x: np.ndarray) -> np.ndarray:
    """Cross-correlation over the last axis, one output number at a time for each place of the kernel."""
    assert node.groups == 1
    x = np.pad(np.broadcast_to(x, node.input_type["input"]), ((0, 0), (node.padding, node.padding)))
    channels, length = node.output_type["output"]
    y = np.zeros((channels, length)) + np.asarray(node.bias)[:, None]
    for k in range(node.weight.shape[2]):
        taken = x[:, k * node.dilation :][:, : (length - 1) * node.stride + 1 : node.stride]
        y = y + node.weight[:, :, k].astype(float) @ taken
    return y


def run(graph: nir.NIRGraph, x: np.ndarray) -> dict[str, np.ndarray]:
    """Run ``graph`` on x (T, *shape of the Input): the values of every top-level node, (T, ...)."""
    machine = Graph(graph)
    steps = [machine.step(x[t].astype(float)) for t in range(x.shape[0])]
    return {name: np.stack([np.broadcast_to(step[name], steps[-1][name].shape) for step in steps]) for name in steps[0]}
