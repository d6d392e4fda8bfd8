"""What ``fit`` says, and its JSON (``fit.schema.json``)."""

from __future__ import annotations

import dataclasses
from typing import Any

from deploy.fitting.chip import Chip

FORMAT = "spikestrip-fit"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a program doesn't fit: a cause in one word, the layers that have it, and what would help."""

    cause: str
    layers: tuple[str, ...]
    reason: str
    remedy: str = ""


@dataclasses.dataclass
class Core:
    """One core of the chip. layers: name -> its neurons [first, last + 1); used: quantity -> (used, limit or None)."""

    index: int
    layers: dict[str, tuple[int, int]]
    used: dict[str, tuple[float, float | None]]
    load: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Answer:
    """The answer for one program and one chip.

    cores: how many are taken, None where no placement was found. placements: those that were compared, best first.
    at_least: cores without which no placement can do. measured: what the rates come from, or None. totals: of the best
    placement, all cores together: neurons, bytes, and the messages and operations of a step (Loihi 2).
    """

    chip: Chip
    program_sha256: str
    cores: int | None
    reasons: list[Reason]
    placed: list[Core] = dataclasses.field(default_factory=list)
    placements: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    at_least: dict[str, int] = dataclasses.field(default_factory=dict)
    unknown: list[str] = dataclasses.field(default_factory=list)
    assumptions: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    measured: dict[str, Any] | None = None
    totals: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def fits(self) -> bool:
        return not self.reasons

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        if self.fits:
            known = f", as far as is known: {len(self.unknown)} unknowns are listed" if self.unknown else ""
            return f"fits on {self.cores} core{'s' if self.cores != 1 else ''} of a {self.chip.name}{known}"
        return f"does not fit on a {self.chip.name}, because " + "; ".join(reason.reason for reason in self.reasons)

    def json(self) -> dict[str, Any]:
        """The answer as JSON takes it."""
        whole = dataclasses.asdict(self)
        chip = whole.pop("chip")
        return {
            "format": FORMAT,
            "version": VERSION,
            "fits": self.fits,
            "chip": chip["name"],
            "cores": whole.pop("cores"),
            "answer": self.sentence,
            **whole,
            "limits": chip["limits"],
            "step_time": chip["step_time"],
        }
