"""Does it fit on a Speck."""

from __future__ import annotations

from deploy.fitting.answer import Answer
from deploy.fitting.chip import Chip
from deploy.fitting.measured import Measured
from spikestrip.errors import BadInput
from spikestrip.program import Program


def fit(program: Program, chip: Chip, measured: Measured | None) -> Answer:
    """Not judged yet."""
    raise BadInput("--chip", f"{chip.name} is not judged yet")
