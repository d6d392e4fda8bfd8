"""The loop over time that the numpy and torch backends share: nothing but calls of each operation's ``step``."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from simulators.backends import Progress, Recording
from spikestrip.execution import Stepper
from spikestrip.operations import Array
from spikestrip.program import Program


def run(
    program: Program,
    x: np.ndarray,
    xp: ModuleType,
    convert: Callable[[np.ndarray], Array],
    to_numpy: Callable[[Array], np.ndarray],
    progress: Progress,
) -> Recording:
    """Run ``program`` on x (B, T, *input_shape) with arrays made by ``convert``, read back by ``to_numpy``."""
    batch, steps = x.shape[:2]
    stepper = Stepper(program, batch, xp, convert)
    inputs = convert(x)
    spikes = {
        layer.name: np.empty((batch, steps, layer_size(program, layer.name)), np.uint8) for layer in program.spiking
    }
    output: np.ndarray | None = None
    for t in range(steps):
        streams = stepper.step(inputs[:, t])
        for name, train in spikes.items():
            train[:, t] = to_numpy(streams[name]).reshape(batch, -1)
        last = to_numpy(streams[program.output])
        if output is None:
            output = np.empty((batch, steps, *last.shape[1:]), last.dtype)
        output[:, t] = last
        progress(1)
    stepper.check_finite()
    if output is None:
        raise ValueError("a run has at least one step")
    return Recording(output, spikes)


def layer_size(program: Program, name: str) -> int:
    """Number of neurons N of a layer."""
    return int(np.prod(program.shapes[name]))
