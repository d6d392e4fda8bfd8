"""One case of the suite."""

from __future__ import annotations

import dataclasses

import numpy as np

from simulators.backends import Dtype
from spikestrip.program import Program

ROUNDING = {"float64": 1e-12, "float32": 1e-4}
"""The tolerance of cases whose sums every library rounds in its own way."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A program and an input (B, T, *input_shape) in the dtype of the run.

    tolerance: how far an output may be from the oracle's, relative to max(1, |output|); 0 asks for the same bits.
    faulty: the run is not finite at some step; a neuron would turn that into silence, so the backend must raise.
    """

    operation: str
    situation: str
    dtype: Dtype
    program: Program
    input: np.ndarray
    tolerance: float = 0.0
    faulty: bool = False

    @property
    def name(self) -> str:
        return f"{self.operation}/{self.situation}/{self.dtype}"
