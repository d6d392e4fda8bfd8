"""The table of graphs and importers as Markdown and HTML, and a badge for each importer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template

from simulators.conformance.importers.judging import Verdict
from simulators.conformance.importers.running import Table
from simulators.conformance.table import _line, _note

TITLE = "What stock importers do with a NIR file"
MEANING = {
    "exact": "equal in every spike, and in every graded output to 1e-3, on that input",
    "by rule": "other values, with no error; a rule of the platform that is known makes every one of them",
    "unsaid": "other values, in a cycle of which NIR doesn't say which edge waits",
    "refuses": "an exception",
    "silently wrong": "other values, with no error, and no rule makes them NIR's: something is dropped or changed",
}
COLOURS = {"exact": "#2a7", "by rule": "#b80", "unsaid": "#888", "refuses": "#888", "silently wrong": "#c33"}
_HEAD = f"""# {TITLE}

Each graph was given to the published importers, with random input of 60 steps and two samples, and held against NIR
as written: forward Euler at dt = 1e-4, fires above the threshold, reset to v_reset. Norse was told that dt; those
of snnTorch and SpikingJelly have it by default; Sinabs counts in steps, so that its neurons differ; nirtorch was given
no node map of ours. The input has no ties: at a tie SpikingJelly and Sinabs fire, snnTorch and Norse don't.

{chr(10).join(f"- **{status}**: {text}." for status, text in MEANING.items())}

A node that an importer drops leaves an empty graph when it is alone, and there the importer stops; in a longer graph it
is left out without a word (`Affine, Scale, LIF`). Two importers that start a neuron elsewhere than at 0 (Norse at
v_leak, SpikingJelly at v_reset) may still be *exact* here, where the first steps happen to bear it.

`spikestrip check` and `--integrate as-importer:NAME` are tested against the same runs, and on 300 random graphs
(`tests/test_nir_importers.py`). Written by `python -m simulators.conformance nir -o FOLDER`, which also leaves the
table as HTML, a badge for each importer and a reproducer for each silent error, with whatever importers are installed:
others join as entry points of the group `spikestrip.importers`.

"""


@dataclasses.dataclass(frozen=True)
class Badge:
    """An importer's answers in one line, as SVG."""

    importer: str
    counts: Counter[str]

    @property
    def text(self) -> str:
        return ", ".join(f"{self.counts[status]} {status}" for status in MEANING if self.counts[status])

    @property
    def colour(self) -> str:
        worst = next((status for status in ("silently wrong", "by rule") if self.counts[status]), "exact")
        return COLOURS[worst]

    @property
    def svg(self) -> str:
        left, right = f"NIR | {self.importer}", self.text
        split, whole = (int(gap + 6.4 * length) for gap, length in ((12, len(left)), (24, len(left) + len(right))))
        return _template("badge.svg").render(left=left, right=right, split=split, width=whole, colour=self.colour)


def badges(table: Table) -> list[Badge]:
    """One for each importer, in the order of the table."""
    importers = next(iter(table.values()))
    return [Badge(name, Counter(row[name].status for row in table.values())) for name in importers]


def markdown(table: Table) -> str:
    """The whole page, causes as notes below the table."""
    importers = list(next(iter(table.values())))
    notes: list[str] = []
    lines = [_line(["graph", *importers]), _line(["---"] * (1 + len(importers)))]
    for graph, row in table.items():
        lines.append(_line([graph, *(_cell(row[name], notes) for name in importers)]))
    totals = [_line(["**all**", *(badge.text for badge in badges(table))])]
    causes = ["", *(f"{number}. {cause}" for number, cause in enumerate(notes, 1))]
    return _HEAD + "\n".join([*lines, *totals, *causes]) + "\n"


def _cell(verdict: Verdict, notes: list[str]) -> str:
    if verdict.status in ("exact", "refuses"):
        return verdict.status
    shown = f"**{verdict.status}**" if verdict.status == "silently wrong" else verdict.status
    return f"{shown} ({_note(verdict.cause, notes)})"


def page(table: Table) -> str:
    """The table as a page of HTML that needs nothing else; causes show where the pointer rests."""
    return _template("page.html").render(
        title=TITLE, badges=badges(table), meaning=MEANING, colours=COLOURS, table=table
    )


def _template(name: str) -> Template:
    return Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True).get_template(name)


def plain(table: Table) -> dict[str, dict[str, dict[str, str]]]:
    """The table for programs: graph -> importer -> {"status", "cause"}."""
    return {
        graph: {name: {"status": verdict.status, "cause": verdict.cause} for name, verdict in row.items()}
        for graph, row in table.items()
    }
