"""The numpy backend: the oracle. It has no arithmetic of its own; it calls each operation's ``step`` in order."""

from __future__ import annotations

import numpy as np

from simulators.backends import Dtype, Progress, Recording
from spikestrip import execution
from spikestrip.program import Layer, Program


class NumpyBackend:
    name = "numpy"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        return None

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        output, spikes, numbers = execution.run(program, x, np, lambda array: array.astype(dtype), np.asarray, progress)
        return Recording(output, spikes, numbers=numbers)
