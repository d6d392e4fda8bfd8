"""How large an input may be before a neuron that subtracts its threshold would have to fire twice in one step."""

from __future__ import annotations

import numpy as np

from spikestrip.errors import Refused
from spikestrip.operations import LIF, Affine, Join, LeakyIntegrator, Operation, SpikingOperation
from spikestrip.program import INPUT, Program

Bound = tuple[np.ndarray, np.ndarray]
"""The largest magnitude upwards or downwards of each value, as constant + slope * max|input|."""


def spikes_once(program: Program) -> float:
    """M: while no input value exceeds it in magnitude, every soft-reset neuron stays below twice its threshold.

    Interval arithmetic, linear in M: after a step u < threshold, so u' <= decay*threshold + the largest input current.
    ``program`` holds affine, join, LIF with soft reset and leaky integrators. Raises Refused where no M > 0 will do.
    """
    zero, one = np.zeros(program.input_shape), np.ones(program.input_shape)
    above: dict[str, Bound] = {INPUT: (zero, one)}
    below: dict[str, Bound] = {INPUT: (zero, -one)}
    largest = np.inf
    for layer in program.layers:
        high, low = _total(above, layer.inputs), _total(below, layer.inputs)
        operation = layer.operation
        if isinstance(operation, LIF):
            room = (2 - operation.decay) * operation.threshold - high[0]
            if (operation.threshold <= 0).any() or (room <= 0).any():
                raise Refused(
                    layer.name, "may reach twice its threshold, where Sinabs sends several spikes in one step"
                )
            reached = high[1] > 0
            largest = min(largest, float((room[reached] / high[1][reached]).min(initial=np.inf)))
        above[layer.name], below[layer.name] = _through(operation, high, low)
    return largest * (1 - 1e-5)  # float32 rounds on the way


def _total(bounds: dict[str, Bound], sources: tuple[str, ...]) -> Bound:
    return sum(bounds[name][0] for name in sources), sum(bounds[name][1] for name in sources)  # type: ignore[return-value]


def _through(operation: Operation, high: Bound, low: Bound) -> tuple[Bound, Bound]:
    if isinstance(operation, Join):
        return high, low
    if isinstance(operation, SpikingOperation):
        zero = np.zeros(high[0].shape)
        return (zero + 1, zero), (zero, zero)
    if isinstance(operation, LeakyIntegrator):  # as if the input stayed at its bound for ever
        gather = 1 / (1 - operation.decay)
        return (
            (np.maximum(high[0], 0) * gather, np.maximum(high[1], 0) * gather),
            (np.minimum(low[0], 0) * gather, np.minimum(low[1], 0) * gather),
        )
    if isinstance(operation, Affine):
        weight = operation.weight.astype(np.float64)
        up, down = np.maximum(weight, 0), np.minimum(weight, 0)
        bias = 0 if operation.bias is None else operation.bias
        return (
            (up @ high[0] + down @ low[0] + bias, up @ high[1] + down @ low[1]),
            (up @ low[0] + down @ high[0] + bias, up @ low[1] + down @ high[1]),
        )
    raise Refused(operation.kind, "has no bound here")
