"""What the measurements of trained networks share: held-out sequences, and the truth about them.

The truth is the stripped program, run step by step in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import array_api_compat.torch as xp
import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from spikestrip.execution import Stepper
from spikestrip.inputs import check, expand
from spikestrip.program import Program, at_sample

BATCH = 64
BUDGET = 1 << 30  # bytes that a batch's record may take: long sequences make it smaller


@dataclasses.dataclass
class Batch:
    """Sequences first, first + 1, ...: inputs (B, T, ...), logits (B, C) or (B, T, C), and for each spiking layer its
    input currents (T, B, N) float64 and spikes (T, B, N) uint8."""

    first: int
    inputs: np.ndarray
    logits: np.ndarray
    currents: dict[str, Tensor]
    spikes: dict[str, Tensor]


def run(program: Program, inputs: np.ndarray) -> Iterator[Batch]:
    """Run ``program`` on inputs (B, T, C) or ids (B, T, 1), batch by batch. BadInput where a state overflows."""
    inputs = check(inputs, program.input_shape, "held-out inputs")
    steps = inputs.shape[1]
    values = sum(program.shapes[name][0] for name in ("input", program.output))
    sample_bytes = steps * (8 * values + 9 * sum(program.shapes[layer.name][0] for layer in program.spiking))
    size = max(1, min(BATCH, BUDGET // sample_bytes))
    for first in range(0, len(inputs), size):
        with torch.inference_mode(), threadpool_limits(1):
            batch = _run_batch(program, first, inputs[first : first + size])
        yield batch


def _run_batch(program: Program, first: int, inputs: np.ndarray) -> Batch:
    batch, steps = inputs.shape[:2]
    names = [layer.name for layer in program.spiking]
    currents, spikes = (
        {name: torch.empty((steps, batch, *program.shapes[name]), dtype=dtype) for name in names}
        for dtype in (torch.float64, torch.uint8)
    )
    stepper = Stepper(at_sample(program, first), batch, xp, lambda array: torch.as_tensor(array).double())
    given = torch.from_numpy(expand(inputs, program.input_shape)).double()
    output = []
    for t in range(steps):
        streams = stepper.step(given[:, t])
        for name in names:
            currents[name][t] = stepper.entering[name]
            spikes[name][t] = streams[name]
        output.append(streams[program.output])
    stepper.check_finite()
    return Batch(first, inputs, program.finish(torch.stack(output, dim=1).numpy()), currents, spikes)
