"""What a check found."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass
class Row:
    """One platform, or one rule changed alone.

    status: "same", "differs", "refused" (it can't run the graph), or "unknown" (what it would do isn't known).

    answer: a letter; rows with equal spikes and output bear the same, the reference A.
    first: {"sample", "step", "layer", "neuron"} of the first difference; outputs: graded output values that differ.
    causes: sets of rule changes, each of which makes the row's spikes of the reference's; ``cause`` is that in words.
    tested: how many spikes and outputs still differ with the remedy on that platform's rule; None: not tried.
    """

    name: str
    source: str
    status: str
    arithmetic: str = ""
    answer: str = ""
    spikes: int = 0
    differ: int = 0
    outputs: int = 0
    first: dict[str, Any] | None = None
    causes: list[list[str]] = dataclasses.field(default_factory=list)
    cause: str = ""
    remedy: str = ""
    tested: int | None = None


@dataclasses.dataclass
class Report:
    """header: facts about file, input and reference. rows: the platforms. alone: single rules changed."""

    header: dict[str, Any]
    rows: list[Row]
    alone: list[Row]
    notes: list[str]

    @property
    def judged(self) -> bool:
        """Whether any platform is known to run the graph."""
        return any(row.answer for row in self.rows)

    @property
    def agrees(self) -> bool:
        """Whether all platforms that run the graph agree; False where none does."""
        return self.judged and all(row.status != "differs" for row in self.rows)
