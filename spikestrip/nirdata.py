"""Traces in NIR's own data format (``nir.data_ir``: time grids and events), and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from nir.data_ir import EventData, NIRGraphData, NIRNodeData, TimeGriddedData

from spikestrip.errors import BadInput
from spikestrip.program import INPUT
from spikestrip.recorded import Attribute, Trace

OUTPUT = "output"
_NEAR = 1e-6  # of a step: how far a time may be from one


def graph_data(trace: Trace, dt: float = 1.0) -> NIRGraphData:
    """Input, output and spikes of ``trace`` as time grids of steps of ``dt`` (seconds, or 1), all in memory.

    A node for each spiking layer, by its name, observable "spikes" (B, T, N) bool; and nodes "input" (B, T, C flat) and
    "output" (B, T, C), or (B, 1, C) of one step of T*dt for a network that answers once, both observable "values".
    NIR's data have no place for attributes and counters: hand the attributes to ``from_nirdata`` again.
    """
    batch, steps = trace.input.shape[:2]
    output = np.asarray(trace.output)
    once = output.ndim == 2
    nodes: dict[str, Any] = {
        INPUT: _node("values", np.asarray(trace.input).reshape(batch, steps, -1), dt),
        **{name: _node("spikes", np.asarray(train).astype(bool), dt) for name, train in trace.spikes.items()},
        OUTPUT: _node("values", output.reshape(batch, 1 if once else steps, -1), dt * steps if once else dt),
    }
    return NIRGraphData(nodes)


def from_nirdata(data: NIRGraphData, attrs: Mapping[str, Attribute] | None = None, dt: float | None = None) -> Trace:
    """The trace in ``data``, laid out as ``graph_data`` does it; its layers' spikes may be events (EventData) too.

    Events need ``dt``, if no time grid of spikes or input has it; each must lie on a step. An output of one step is
    that of a network that answers once, unless T = 1 and it is of the same dt. Raises BadInput for what isn't such a
    trace, naming the node.
    """
    grids = {name: _observed(name, node) for name, node in data.nodes.items()}
    given = grids.pop(INPUT, None)
    answer = grids.pop(OUTPUT, None)
    if not isinstance(given, TimeGriddedData) or not isinstance(answer, TimeGriddedData):
        raise BadInput("NIR data", "lack a time grid of the nodes 'input' and 'output'")
    step = given.dt if dt is None else dt
    if step != given.dt or any(isinstance(grid, TimeGriddedData) and grid.dt != step for grid in grids.values()):
        raise BadInput("NIR data", f"are not all of steps of {step}")
    steps = given.data.shape[:2]
    spikes = {name: _spikes(name, grid, steps, step) for name, grid in grids.items()}
    once = answer.data.shape[1] == 1 and not (steps[1] == 1 and answer.dt == step)
    output = answer.data[:, 0] if once else answer.data
    if answer.data.shape[0] != steps[0] or not (once or answer.data.shape[1] == steps[1]):
        raise BadInput("NIR data", f"output: {answer.data.shape} doesn't fit an input of {given.data.shape}")
    return Trace(dict(attrs or {}), given.data, output, spikes)


def _node(name: str, values: np.ndarray, dt: float) -> NIRNodeData:
    return NIRNodeData({name: TimeGriddedData(values, dt)})


def _observed(name: str, node: Any) -> TimeGriddedData | EventData:
    kept = node.observables if isinstance(node, NIRNodeData) else {}
    wanted = kept.get("values" if name in (INPUT, OUTPUT) else "spikes")
    if wanted is None:
        raise BadInput("NIR data", f"node {name}: holds no {'values' if name in (INPUT, OUTPUT) else 'spikes'}")
    return wanted


def _spikes(name: str, grid: TimeGriddedData | EventData, steps: tuple[int, int], dt: float) -> np.ndarray:
    """(B, T, N) uint8."""
    if isinstance(grid, TimeGriddedData):
        train: np.ndarray = grid.data
        if train.shape[:2] != steps or not ((train == 0) | (train == 1)).all():
            raise BadInput("NIR data", f"node {name}: {train.shape} are not spikes, 0 or 1, of {steps}")
        return train.astype(np.uint8)
    train = np.zeros((*steps, grid.n_neurons), np.uint8)
    sample, event = np.nonzero(grid.idx != -1)
    at = grid.time[sample, event] / dt
    step, neuron = np.rint(at), grid.idx[sample, event]
    if not (np.abs(at - step) <= _NEAR).all():
        raise BadInput("NIR data", f"node {name}: events lie between the steps of {dt}")
    if len(grid.idx) != steps[0] or (step < 0).any() or (step >= steps[1]).any():
        raise BadInput("NIR data", f"node {name}: events lie outside of {steps[0]} samples, {steps[1]} steps")
    if (neuron < 0).any() or (neuron >= grid.n_neurons).any():
        raise BadInput("NIR data", f"node {name}: events of neurons that it doesn't have")
    places = sample, step.astype(np.int64), neuron
    train[places] = 1
    if int(train.sum()) != sample.size:
        raise BadInput("NIR data", f"node {name}: two events of one neuron in one step")
    return train
