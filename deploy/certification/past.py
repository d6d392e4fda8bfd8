"""What a decision depends on: its causal past, and so which decisions of a set come first.

A decision (sample, step, neuron of a layer) depends on its own neuron's earlier spikes, on the spikes of the same step
of layers that lead to it without a delayed edge, and on earlier ones of all that lead to it. Between two spiking layers
every neuron counts as reaching every other: where they don't mix, the past is taken larger than it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikestrip.program import Program


def sources(program: Program, spiking: set[str]) -> dict[str, tuple[set[str], set[str]]]:
    """Each of ``spiking`` -> (those that reach it within a step, those that reach it a step later or more)."""
    direct = {layer.name: set(layer.inputs) for layer in program.layers}
    every = {layer.name: {*layer.inputs, *layer.delayed} for layer in program.layers}
    found = {}
    for name in spiking:
        now, ever = _reaching(direct, name) & spiking, _reaching(every, name) & spiking
        found[name] = (now, ever - now)
    return found


def _reaching(edges: Mapping[str, set[str]], name: str) -> set[str]:
    reached: set[str] = set()
    pending = list(edges[name])
    while pending:
        source = pending.pop()
        if source not in reached:
            reached.add(source)
            pending.extend(edges.get(source, ()))
    return reached


def reached_by(program: Program, name: str, spiking: set[str]) -> set[str]:
    """Those of ``spiking`` that a layer leads to without another of them between, at whatever step."""
    reached, pending = set(), [name]
    while pending:
        source = pending.pop()
        for layer in program.layers:
            if source in (*layer.inputs, *layer.delayed) and layer.name not in reached:
                reached.add(layer.name)
                if layer.name not in spiking:
                    pending.append(layer.name)
    return reached & spiking


def dependent_from(
    program: Program, keys: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, int, int]]
) -> dict[str, np.ndarray]:
    """Layer -> (B, N), the step from which a neuron's decisions have one of ``keys`` in their past; T where none does.

    keys: layer -> positions in its flattened spikes, whose shape is (B, T, N) in ``shapes``.
    """
    first: dict[str, np.ndarray] = {}
    own: dict[str, np.ndarray] = {}
    for name, (batch, steps, size) in shapes.items():
        sample, step, neuron = np.unravel_index(keys[name], (batch, steps, size))
        own[name] = np.full((batch, size), steps)
        np.minimum.at(own[name], (sample, neuron), step)
        first[name] = own[name].min(axis=1, initial=steps)
    since = {}
    for name, (now, later) in sources(program, set(shapes)).items():
        steps = shapes[name][1]
        start = own[name] + 1
        for source in now:
            start = np.minimum(start, first[source][:, None])
        for source in later:
            start = np.minimum(start, first[source][:, None] + 1)
        since[name] = np.minimum(start, steps)
    return {name: since[name] for name in shapes}


def independent(keys: np.ndarray, since: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Booleans: which of ``keys``, positions in a layer's (B, T, N), come before ``since`` (B, N)."""
    sample, step, neuron = np.unravel_index(keys, shape)
    return np.asarray(step < since[sample, neuron])
