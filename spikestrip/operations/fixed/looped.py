"""Integer operations over many steps: by compiled loops where no sum wraps in int32, else step by step.

x is (T, B, *shape), time first, whole numbers in float64. Each gives the next state and the output of every step, to
the bit those of the operation's own ``step``; operations are bound (``Operation.bind``).
"""

from __future__ import annotations

import numpy as np

from spikestrip.operations.base import State
from spikestrip.operations.fixed import kernels
from spikestrip.operations.fixed.linear import FixedReadout
from spikestrip.operations.fixed.neurons import FixedLIF
from spikestrip.operations.fixed.ssm import FixedS4D
from spikestrip.operations.fixed.words import ACCUMULATOR


def s4d(operation: FixedS4D, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    """The SSM; states (B, N, H)."""
    re, im, y = np.array(state["re"], float), np.array(state["im"], float), np.empty_like(x)
    peak, most = np.zeros(re.shape[1:]), np.zeros(len(operation.c_exp))
    kernels.s4d(x, re, im, *operation.scaled(), float(operation.rounding), y, peak, most)
    if operation.holds(peak, most, _largest(x), _largest(y)):
        return {"re": re, "im": im}, y
    return operation.over(np, state, x)


def lif(operation: FixedLIF, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    """The neuron; v of the stream's shape."""
    if not _largest(x) * 2**operation.align < ACCUMULATOR:
        return operation.over(np, state, x)
    flat = x.reshape(*x.shape[:2], -1)
    v, spikes = state["v"].reshape(flat.shape[1:]).copy(), np.empty_like(flat)
    kernels.lif(flat, v, *operation.constants(flat.shape[-1]), spikes, np.empty((0, 0, 0)))
    return {"v": v.reshape(x.shape[1:])}, spikes.reshape(x.shape)


def readout(operation: FixedReadout, state: State, x: np.ndarray) -> tuple[State, np.ndarray]:
    """The accumulator: whole numbers, in any order."""
    total = state["sigma"] + np.cumsum(x, axis=0)
    return ({"sigma": total[-1]}, total) if _largest(total) < ACCUMULATOR else operation.over(np, state, x)


def _largest(values: np.ndarray) -> float:
    """Magnitude; NaN where there is one, which no comparison lets pass."""
    return float(np.abs(values).max(initial=0.0))
