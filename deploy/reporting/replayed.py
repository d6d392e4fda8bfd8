"""The program replayed on what a run recorded: its membrane potentials, and what it would answer at every step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from deploy.verification.replay import deciding, excess, time_first
from simulators.clamped import Clamped
from spikestrip import inputs
from spikestrip.program import Program
from spikestrip.trace import Trace


@dataclasses.dataclass
class Replayed:
    """Of the samples that were replayed, clamped to what they recorded (docs/verify.md).

    potentials, thresholds: layer -> (K, T, N) float64, u' and what it was held against, of the K that were kept.
    stream: (B, T, ...) the output layer's, of all.
    """

    potentials: dict[str, np.ndarray]
    thresholds: dict[str, np.ndarray]
    stream: np.ndarray


def replayed(program: Program, run: Trace, kept: list[int]) -> Replayed:
    """Replay the samples of ``run``, which must begin with the first; keep the potentials of those in ``kept``."""
    recorded: Mapping[str, np.ndarray] = run.spikes | run.numbers
    operations = {name: op.bind(_float64) for name, op in deciding(program, recorded).items()}
    batch, steps = run.input.shape[:2]
    sizes = {name: (len(kept), steps, math.prod(program.shapes[name])) for name in operations}
    potentials, thresholds = ({name: np.empty(size) for name, size in sizes.items()} for _ in range(2))
    stream = np.empty((batch, steps, *program.shapes[program.output]))
    sent, start = time_first(program, recorded), 0
    x = inputs.expand(run.input, program.input_shape).swapaxes(0, 1)
    for piece in Clamped(program, batch, sent).pieces(x, sent):
        here = slice(start, start + len(piece.streams[program.output]))
        stream[:, here] = piece.streams[program.output].swapaxes(0, 1)
        for name, operation in operations.items():
            u = piece.potentials[name]
            edge = u - excess(operation, piece.found[name], u, piece.streams[name])
            for kind, values in ((potentials, u), (thresholds, edge)):
                kind[name][:, here] = values[:, kept].swapaxes(0, 1).reshape(len(kept), len(values), -1)
        start = here.stop
    return Replayed(potentials, thresholds, stream)


def answered(program: Program, stream: np.ndarray, labels: np.ndarray, at: np.ndarray) -> list[float]:
    """The share of right answers, had the input ended behind so many steps: labels (B,), at (n,) numbers of steps."""
    ends = (program.finish(stream[:, :steps]) for steps in at.tolist())
    return [float(np.mean(answers.argmax(axis=-1) == labels)) for answers in ends]


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)
