"""Graphs of every kind of node, cycles and nesting, on which stock importers are tried."""

from __future__ import annotations

import itertools
from pathlib import Path

import nir
import numpy as np

DT = 1e-4
N = 3
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0.4, 1, (N, N)).astype(np.float32)
BIAS = RNG.normal(0, 1, N).astype(np.float32)
ONE = np.ones(N)
CONV1 = RNG.normal(0, 1, (2, 2, 3)).astype(np.float32)
CONV2 = RNG.normal(0, 1, (2, 2, 3, 3)).astype(np.float32)


def lif(tau: float = 4 * DT, r: float = 1, leak: float = 0, threshold: float = 0.4, reset: float = 0) -> nir.LIF:
    return nir.LIF(tau * ONE, r * ONE, leak * ONE, threshold * ONE, reset * ONE)


def per_neuron(field: str) -> nir.LIF:
    node = lif()
    setattr(node, field, getattr(node, field) * np.array([1, 1.5, 2]))
    return node


def cuba(kind: str) -> nir.NIRNode:
    syn, mem = 3 * DT * ONE, 4 * DT * ONE
    if kind == "CubaLI":
        return nir.CubaLI(syn, mem, mem / DT, 0 * ONE, syn / DT)
    return nir.CubaLIF(syn, mem, mem / DT, 0 * ONE, 2 * ONE, 0 * ONE, syn / DT)


def affine() -> nir.Affine:
    return nir.Affine(WEIGHT, BIAS)


LONE: dict[str, tuple[nir.NIRNode, tuple[int, ...]]] = {
    "Affine": (affine(), (N,)),
    "Linear": (nir.Linear(WEIGHT), (N,)),
    "Scale": (nir.Scale(2 * ONE), (N,)),
    "Threshold": (nir.Threshold(0.4 * ONE), (N,)),
    "Delay": (nir.Delay(2 * DT * ONE), (N,)),
    "I": (nir.I(ONE / DT), (N,)),
    "LI": (nir.LI(4 * DT * ONE, ONE, 0 * ONE), (N,)),
    "LI, tau in steps": (nir.LI(4 * ONE, ONE, 0 * ONE), (N,)),
    "IF": (nir.IF(ONE / DT, 2 * ONE, 0 * ONE), (N,)),
    "IF, r = 1": (nir.IF(ONE, 2 * ONE, 0 * ONE), (N,)),
    "LIF": (lif(), (N,)),
    "LIF, r = tau/dt": (lif(r=4, threshold=1.1), (N,)),
    "LIF, r = 2": (lif(r=2), (N,)),
    "LIF, v_reset": (lif(reset=0.1), (N,)),
    "LIF, v_leak": (lif(leak=0.1), (N,)),
    "LIF, v_leak = v_reset": (lif(leak=0.1, reset=0.1), (N,)),
    "LIF, r = tau/dt, v_leak = v_reset": (lif(r=4, leak=0.1, reset=0.1, threshold=1.1), (N,)),
    "LIF, tau per neuron": (per_neuron("tau"), (N,)),
    "LIF, threshold per neuron": (per_neuron("v_threshold"), (N,)),
    "LIF, tau = dt": (lif(tau=DT), (N,)),
    "LIF, several axes": (nir.LIF(*(np.full((1, N), v) for v in (4 * DT, 1.0, 0.0, 0.4, 0.0))), (1, N)),
    "CubaLI": (cuba("CubaLI"), (N,)),
    "CubaLIF": (cuba("CubaLIF"), (N,)),
    "Conv1d": (nir.Conv1d(8, CONV1, 1, 1, 1, 1, np.ones(2, np.float32)), (2, 8)),
    "Conv2d": (nir.Conv2d((6, 6), CONV2, 1, 1, 1, 1, np.ones(2, np.float32)), (2, 6, 6)),
    "SumPool2d": (nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 6, 6)),
    "AvgPool2d": (nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 6, 6)),
    "Flatten": (nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1), (2, 3, 3)),
}


def graphs() -> dict[str, nir.NIRGraph]:
    """Name -> graph. Nodes are named in alphabetical order of execution, as importers need it."""
    found = {name: chain([node], shape) for name, (node, shape) in LONE.items()}
    found["Affine, LIF"] = chain([affine(), lif()], (N,))
    found["Affine, Scale, LIF"] = chain([affine(), nir.Scale(2 * ONE), lif()], (N,))
    ends = {"input": nir.Input(np.array([N])), "output": nir.Output(np.array([N]))}
    entering = [("input", "a")]
    found["two edges into a node"] = wired(
        {**ends, "a": affine(), "b": affine(), "c": lif()},
        [*entering, ("input", "b"), ("a", "c"), ("b", "c"), ("c", "output")],
    )
    found["nodes out of alphabetical order"] = wired(
        {**ends, "b": affine(), "a": lif()}, [("input", "b"), ("b", "a"), ("a", "output")]
    )
    found["cycle: LIF to itself"] = wired(
        {**ends, "a": affine(), "b": lif()}, [*entering, ("a", "b"), ("b", "b"), ("b", "output")]
    )
    found["cycle: LIF, Affine"] = wired(
        {**ends, "a": affine(), "b": lif(), "c": affine()},
        [*entering, ("a", "b"), ("b", "c"), ("c", "b"), ("b", "output")],
    )
    found["cycle: LIF, Linear, r = tau/dt"] = wired(
        {**ends, "a": affine(), "b": lif(r=4, threshold=1.1), "c": nir.Linear(WEIGHT)},
        [*entering, ("a", "b"), ("b", "c"), ("c", "b"), ("b", "output")],
    )
    found["cycle: two LIF"] = wired(
        {**ends, "a": affine(), "b": lif(), "c": lif()},
        [*entering, ("a", "b"), ("b", "c"), ("c", "b"), ("c", "output")],
    )
    found["nested: Affine, LIF"] = wired({**ends, "a": chain([affine(), lif()], (N,))}, [*entering, ("a", "output")])
    found["nested, with a cycle"] = wired({**ends, "a": found["cycle: LIF, Affine"]}, [*entering, ("a", "output")])
    return found


def drawn(seed: int) -> nir.NIRGraph:
    """A random graph of one to four nodes of any kind, with streams that meet, cycles, nesting."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.15:
        frames = [name for name, (_, shape) in LONE.items() if len(shape) > 1]
        node, shape = LONE[str(rng.choice(frames))]
        return chain([node], shape)
    names = "abcd"[: rng.integers(1, 5)]
    nodes: dict[str, nir.NIRNode] = {name: _drawn(rng) for name in names}
    edges = list(itertools.pairwise(["input", *names, "output"]))
    if len(names) > 2 and rng.random() < 0.2:
        edges.append((names[0], names[2]))
    if rng.random() < 0.25:
        source = str(rng.choice(list(names)))
        edges.append((source, str(rng.choice([name for name in names if name <= source]))))
    ends = {"input": nir.Input(np.array([N])), "output": nir.Output(np.array([N]))}
    graph = wired({**ends, **nodes}, edges)
    return wired({**ends, "a": graph}, [("input", "a"), ("a", "output")]) if rng.random() < 0.2 else graph


def _drawn(rng: np.random.Generator) -> nir.NIRNode:
    """A node on N channels; half of them a synapse or an LIF as files have them."""
    lone = [name for name, (_, shape) in LONE.items() if shape == (N,)]
    kind = rng.choice(["affine", "lif", "any"], p=[0.3, 0.4, 0.3])
    if kind == "affine":
        return nir.Affine(rng.normal(0.3, 1, (N, N)).astype(np.float32), rng.normal(0, 0.5, N).astype(np.float32))
    if kind == "any":
        return LONE[str(rng.choice(lone))][0]
    tau, r = rng.choice([2.0, 4, 20]), rng.choice([1, 1, 0])
    node = lif(tau * DT, r or tau, threshold=rng.uniform(0.2, 0.8), reset=rng.choice([0, 0, 0.1]))
    if rng.random() < 0.2:
        node.v_threshold = node.v_threshold * rng.uniform(1, 2, N)
    return node


def chain(nodes: list[nir.NIRNode], shape: tuple[int, ...]) -> nir.NIRGraph:
    """``nodes`` in a row, named a, b, c ..."""
    x = nir.Input(np.array(shape))
    held = dict(zip("abcdef", nodes, strict=False))
    last = output(nodes, shape)
    names = ["input", *held, "output"]
    return wired({"input": x, **held, "output": nir.Output(np.array(last))}, list(itertools.pairwise(names)))


def output(nodes: list[nir.NIRNode], shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(nodes[-1], nir.SumPool2d | nir.AvgPool2d):
        return (shape[0], shape[1] // 2, shape[2] // 2)
    return (int(np.prod(shape)),) if isinstance(nodes[-1], nir.Flatten) else shape


def wired(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, edges, type_check=False)


def save(graph: nir.NIRGraph, path: Path) -> tuple[Path, np.ndarray]:
    """The file, and an input for it: (2, 60, ...) without ties, which float32 would decide by its rounding."""
    nir.write(path, graph)
    shape = tuple(int(size) for size in graph.nodes["input"].input_type["input"])
    return path, np.random.default_rng(1).normal(0.3, 1, (2, 60, *shape)).astype(np.float32)
