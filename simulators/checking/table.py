"""The answer of a check, on a terminal and as JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.box import ROUNDED, SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulators.checking.report import Report, Row
from spikestrip.files import write_json

COLORS = ("green", "yellow", "magenta", "cyan", "blue", "bright_red", "bright_yellow", "bright_magenta")
MARKS = {"refused": "x", "unknown": "?"}
WIDE = 110  # columns of a terminal that holds the words beside the numbers


def show(report: Report, console: Console) -> None:
    """Print the platforms, then what each rule does alone, then the notes and the sum in one line."""
    head = report.header
    console.print(Text.assemble((Path(head["file"]).name, "bold"), f"  {head['nodes']} layers, nir {head['nir']}"))
    console.print(f"input: {head['input']}; {head['samples']} x {head['steps']} steps", markup=False, highlight=False)
    rule = f"forward Euler at dt {head['dt']:g} s, fires above the threshold, reset {head['reset']}, float64"
    console.print(f"reference, NIR as written: {rule}: {head['spikes']:,} spikes = answer A", highlight=False)
    wide = console.width >= WIDE
    groups = _groups(report.rows)
    console.print(_platforms(groups, wide))
    for rows in groups if not wide else ():
        if rows[0].cause:
            do = f" -> {_remedy(rows[0])}" if rows[0].remedy else ""
            names = ", ".join(row.name for row in rows)
            console.print(Text.assemble(_mark(rows[0]), " ", (names, "bold"), f": {rows[0].cause}{do}"))
    console.print(_alone(report.alone))
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, style="dim")
    console.print(_sum(report.rows))


def write(report: Report, path: Path) -> None:
    """Write the same as JSON: header, platforms, rules, notes."""
    whole = dataclasses.asdict(report)
    whole = {
        "judged": report.judged,
        "agrees": report.agrees,
        **whole["header"],
        "platforms": whole["rows"],
        "rules": whole["alone"],
    }
    write_json(path, whole | {"notes": report.notes})


def _groups(rows: list[Row]) -> list[list[Row]]:
    """Rows that say the same, together."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.answer, row.status, row.cause, _remedy(row)), []).append(row)
    return list(groups.values())


def _platforms(groups: list[list[Row]], wide: bool) -> Table:
    """One answer after the other; the words stand in the table where it is ``wide``."""
    table = Table(box=ROUNDED, padding=(0, 1), header_style="bold")
    table.add_column("")
    table.add_column("platform", no_wrap=True)
    if wide:
        table.add_column("rule of", no_wrap=True)
    for column in ("spikes", "differ"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("first at", min_width=8)
    if wide:
        table.add_column("what sets it apart", ratio=4)
        table.add_column("what to do", ratio=3)
    for rows in groups:
        row, color = rows[0], _color(rows[0])
        names = Text("\n".join(one.name for one in rows), color)
        sources = Text("\n".join(map(_source, rows)), "dim")
        seen = ["", "", ""] if not row.answer else [f"{row.spikes:,}", _differ(row), _first(row)]
        words = [Text(row.cause, "" if row.answer else color), Text(_remedy(row))] if wide else []
        table.add_row(_mark(row), names, *([sources] if wide else []), *seen, *words, end_section=True)
    return table


def _mark(row: Row) -> Text:
    return Text(row.answer or MARKS[row.status], f"bold {_color(row)}")


def _color(row: Row) -> str:
    return COLORS[(ord(row.answer) - ord("A")) % len(COLORS)] if row.answer else "red"


def _alone(rows: list[Row]) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1), title="one rule changed, all others as written", title_justify="left")
    table.add_column("")
    table.add_column("rule")
    for column in ("spikes", "differ"):
        table.add_column(column, justify="right")
    table.add_column("first at")
    for row in rows:
        style = "dim" if row.status == "same" else ""
        table.add_row(
            row.answer, row.name, f"{row.spikes:,}", _differ(row), _first(row).replace("\n", " "), style=style
        )
    return table


def _source(row: Row) -> str:
    return f"{row.source}, {row.arithmetic}" if row.answer else row.source


def _differ(row: Row) -> str:
    graded = f"output {row.outputs:,}" if row.outputs else ""
    return "\n".join(part for part in (f"{row.differ:,}", graded) if part)


def _first(row: Row) -> str:
    if row.first is None:
        return ""
    sample = f"sample {row.first['sample']}, " if row.first["sample"] else ""
    return f"{sample}step {row.first['step']}\n{row.first['layer']}[{row.first['neuron']}]"


def _remedy(row: Row) -> str:
    tried = "" if row.tested is None else f" (tried: {row.tested:,} differ then)"
    return f"{row.remedy}{tried}"


def _sum(rows: list[Row]) -> Text:
    able = [row for row in rows if row.answer]
    differ = sum(row.status == "differs" for row in able)
    if not able:
        return Text("nothing could be judged: no platform is known to run this graph", "bold")
    if not differ:
        return Text(f"all {len(able)} platforms that can run it agree with NIR as written", "bold green")
    answers = len({row.answer for row in able} | {"A"})
    return Text(
        f"one graph, {answers} answers: {differ} of {len(able)} platforms differ from NIR as written", "bold yellow"
    )
