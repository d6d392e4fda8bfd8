"""The search: whatever can go goes, large parts first, until nothing more can (ddmin, Zeller and Hildebrandt 2002)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deploy.shrinking.case import Case
from deploy.shrinking.cuts import Cut, of_layers, of_program, of_samples, of_steps
from spikestrip import schema
from spikestrip.errors import SpikestripError
from spikestrip.files import parsing, read_text

FIRST = 16  # steps that are tried first
Judge = Callable[[Case], bool]
ENTRY = {"judge": str, "case": str, "fails": bool}
"""A line of the journal."""


class Journal:
    """Every answer of a judge, kept in a file: a search that was broken off takes its answers from there.

    path: JSON lines {"case": hash, "fails": bool}; ``judged`` names the judge: the answers of another are not taken.
    """

    def __init__(self, path: Path | None, judged: str) -> None:
        self.path, self.judged = path, judged
        self.answers: dict[str, bool] = {}
        self.asked = 0
        if path is not None and path.is_file():
            with parsing(path, "is not the journal of a search"):
                lines = read_text(path).splitlines()
            for line in lines:
                try:
                    entry = json.loads(line)
                    schema.check(path, entry, ENTRY)
                except (ValueError, RecursionError, SpikestripError):  # the line that it was broken off in
                    continue
                if entry["judge"] == judged:
                    self.answers[entry["case"]] = entry["fails"]

    def ask(self, case: Case, judge: Judge) -> bool:
        if case.key not in self.answers:
            try:
                fails = judge(case)
            except SpikestripError:  # what can't be run, written or compared doesn't fail in the same way
                fails = False
            self.asked += 1
            self.answers[case.key] = fails
            if self.path is not None:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"judge": self.judged, "case": case.key, "fails": fails}) + "\n")
        return self.answers[case.key]


def shrink(
    case: Case,
    judge: Judge,
    journal: Journal,
    progress: Callable[[str], object] = lambda text: None,
    recorded: bool = False,
) -> Case:
    """The smallest case found that ``judge`` still says fails. ``recorded``: only samples and the last steps can go."""

    def fails(candidate: Callable[[], Case]) -> Case | None:
        try:
            made = candidate()
        except SpikestripError:  # shapes that no longer fit
            return None
        return made if journal.ask(made, judge) else None

    while True:
        before = case.key
        case = _shortest(case, fails)
        case = _ddmin(case, of_samples(case), fails)
        progress(case.size)
        if recorded:
            case = _trimmed(case, fails)
        else:  # steps last: few of them would hold on to many neurons
            case = _layers(case, fails, progress)
            case = _parts(case, fails, progress)
            case = _ddmin(case, of_steps(case), fails)
        if case.key == before:
            return case


def _layers(case: Case, fails: Callable[[Callable[[], Case]], Case | None], progress: Callable[[str], object]) -> Case:
    again = True
    while again:
        again = False
        for _, make in of_layers(case):
            smaller = fails(make)
            if smaller is not None and len(smaller.program.layers) <= len(case.program.layers):
                case, again = smaller, True
                progress(case.size)
                break
    return case


def _parts(case: Case, fails: Callable[[Callable[[], Case]], Case | None], progress: Callable[[str], object]) -> Case:
    """Each of the cuts of the program once; names stay, so that the next one is found again in what is left."""
    done: set[str] = set()
    while True:
        cut = next((cut for cut in of_program(case) if cut.name not in done), None)
        if cut is None:
            return case
        done.add(cut.name)
        case = _ddmin(case, cut, fails)
        progress(case.size)


def _shortest(case: Case, fails: Callable[[Callable[[], Case]], Case | None]) -> Case:
    """The first steps alone, twice as many each time, until it fails: short runs are cheap to judge."""
    steps = FIRST
    while steps < case.x.shape[1]:
        smaller = fails(lambda steps=steps: case.of_steps(slice(steps)))  # type: ignore[misc]
        if smaller is not None:
            return smaller
        steps *= 2
    return case


def _trimmed(case: Case, fails: Callable[[Callable[[], Case]], Case | None]) -> Case:
    """As many of the last steps gone as can be."""
    size = case.x.shape[1] // 2
    while size:
        smaller = fails(lambda case=case, size=size: case.of_steps(slice(case.x.shape[1] - size)))  # type: ignore[misc]
        case, size = (case, size // 2) if smaller is None else (smaller, min(size, smaller.x.shape[1] // 2))
    return case


def _ddmin(case: Case, cut: Cut, fails: Callable[[Callable[[], Case]], Case | None]) -> Case:
    kept, size = np.arange(cut.count), max(cut.count // 2, 1)
    if cut.count < 2 and not cut.name.startswith(("weight", "bias")):
        return case
    least = 0 if cut.name.startswith(("weight", "bias")) else 1
    while kept.size > least:
        start = 0
        while start < kept.size:
            rest = np.delete(kept, slice(start, start + size))
            smaller = fails(lambda rest=rest: cut.keep(rest)) if rest.size >= least else None  # type: ignore[misc]
            if smaller is None:
                start += size
            else:
                case, kept = smaller, rest
        if size == 1:
            break
        size = max(min(size // 2, kept.size // 2), 1)
    return case
