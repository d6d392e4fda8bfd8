"""The facts of run folders as Markdown, for terminals and pull requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.pricing.table import joules
from deploy.reporting.folder import RunFolder
from deploy.reporting.words import COLUMNS, cells, listing, share


def markdown(folders: Sequence[RunFolder], facts: Sequence[Mapping[str, Any]]) -> str:
    """One chapter for each folder: what was proven, the table, causes, certificate, energy and chips."""
    return "\n".join(line for folder, said in zip(folders, facts, strict=True) for line in _chapter(folder, said))


def _chapter(folder: RunFolder, said: Mapping[str, Any]) -> list[str]:
    lines = [f"# {_escaped(said['folder'])}", "", _escaped(said["sentence"]), ""]
    test = said["test_set"]
    if "accuracy" in test:
        held_out = f" of {test['held_out']:,.0f} sequences" if "held_out" in test else ""
        lines += [f"On the whole test set{held_out}, stripped: {share(test['accuracy'])}.", ""]
    if said["missing"]:
        lines += [f"Missing: {_escaped(', '.join(said['missing']))}.", ""]
    lines += [f"{_escaped(name)} refused: {_escaped(reason)}\n" for name, reason in said["refused"].items()]
    lines += _table(COLUMNS, [cells(row) for row in folder.rows()])
    for run, found in said["differences"].items():
        for layer, entry in found["layers"].items():
            if entry["differ"]:
                lines.append(f"- {_escaped(f'{run}, {layer}')}: {entry['differ']:,} of {entry['decisions']:,} differ "
                             f"({listing(entry['causes'])})")  # fmt: skip
        lines += [f"- {_escaped(f'{run}: {failure}')}" for failure in found["failures"]]
    for name, one in ((said["certificate"] or {}).get("arithmetics") or {}).items():
        lines.append(f"- {name}: {share(one['certified'])} of {one['decisions']:,} decisions certified")
    lines.append("")
    if said["energy"]:
        energy = [(one["reading"], "refused" if one["joules"] is None else joules(one["joules"]), one["evidence"])
                  for one in said["energy"]]  # fmt: skip
        lines += _table(("energy of one sequence", "total", "grade, or why there is none"), energy)
    if said["fit"]:
        lines += _table(("chip", "answer"), [(one["chip"], one["answer"]) for one in said["fit"]])
    return lines


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return [*head, *("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows), ""]


def _escaped(text: str) -> str:
    """Text in which nothing is markup: names come from files."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ")
