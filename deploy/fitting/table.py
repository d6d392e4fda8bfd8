"""The answer of ``fit`` on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.fitting.answer import Answer, Core

SHOWN = 16  # cores that the table lists
SHORT = {
    "synaptic_memory": "weights, B",
    "neuron_memory": "states, B",
    "kernel_memory": "kernel",
    "synaptic_operations": "syn. ops",
    "messages_in": "in",
    "messages_out": "out",
}


def show(answer: Answer, console: Console) -> None:
    """Print the answer, then its placements and cores, then what is assumed and not known."""
    console.print(Text(answer.sentence, "bold green" if answer.fits else "bold red"))
    for reason in answer.reasons:
        text = f"  {reason.cause.replace('_', ' ')}: {', '.join(reason.layers)}"
        console.print(text + (f" -> {reason.remedy}" if reason.remedy else ""), markup=False, highlight=False)
    if answer.placements:
        console.print(_placements(answer))
    if answer.placed:
        console.print(_cores(answer))
    for title, lines in (("note", answer.notes), ("assumed", answer.assumptions), ("unknown", answer.unknown)):
        for line in lines:
            console.print(f"{title}: {line}", markup=False, highlight=False, style="dim")


def compare(answers: Mapping[str, Answer], console: Console) -> None:
    """Print the answers for several models side by side, then what is assumed and not known of any."""
    table = Table(box=SIMPLE, padding=(0, 1), title="side by side, each in its best placement", title_justify="left")
    table.add_column("")
    for name in answers:
        table.add_column(name, justify="right", overflow="fold")
    for title, cell in _LINES:
        table.add_row(title, *(cell(answer) if answer.placements else "-" for answer in answers.values()))
    for name, answer in answers.items():
        console.print(Text(f"{name}: {answer.sentence}", "bold green" if answer.fits else "bold red"))
    console.print(table)
    for title in ("notes", "assumptions", "unknown"):
        for line in dict.fromkeys(line for answer in answers.values() for line in getattr(answer, title)):
            console.print(f"{title.removesuffix('s')}: {line}", markup=False, highlight=False, style="dim")


def _placements(answer: Answer) -> Table:
    title = f"placements, best first; the largest core of a step, {_kind(answer)} (mean of all cores)"
    table = Table(box=SIMPLE, padding=(0, 1), title=title, title_justify="left")
    table.add_column("placement")
    loads = list(answer.placements[0]["largest_core"])
    for column in ("cores", *map(_short, loads), "step at least"):
        table.add_column(column, justify="right")
    for row in answer.placements:
        largest = (_load(row["largest_core"][name]) for name in loads)
        table.add_row(row["name"], str(row["cores"]), *largest, _bound(row))
    return table


def _cores(answer: Answer) -> Table:
    cut = f" (the first {SHOWN} of {len(answer.placed)})" if len(answer.placed) > SHOWN else ""
    title = f"cores of the best{cut}; loads of a step, {_kind(answer)}"
    table = Table(box=SIMPLE, padding=(0, 1), title=title, title_justify="left")
    table.add_column("core", justify="right")
    table.add_column("holds", overflow="fold")
    first = answer.placed[0]
    loads = [name for name in first.load if name != "neuron_updates"]  # all its neurons, in every step
    for name in (*first.used, *loads):
        table.add_column(_short(name), justify="right")
    for core in answer.placed[:SHOWN]:
        used = (f"{use:,.0f}" + ("" if not most else f"\n{use / most:.0%}") for use, most in core.used.values())
        table.add_row(str(core.index), Text(held(core)), *used, *(_load(core.load[name]) for name in loads))
    return table


def held(core: Core) -> str:
    """What a core holds, in words: each layer, and which of its neurons."""
    return "\n".join(f"{name}[{first}:{last}]" for name, (first, last) in core.layers.items())


def _kind(answer: Answer) -> str:
    return "at the most" if answer.measured is None else "mean / most"


def _bound(row: dict[str, Any]) -> str:
    seconds = row["step_seconds_at_least"]
    return "unknown" if seconds is None else f"{seconds.get('mean', seconds['max']):.3g} s"


def _total(name: str) -> Callable[[Answer], str]:
    return lambda answer: _load(answer.totals[name]) if name in answer.totals else "not counted"


def _largest(name: str) -> Callable[[Answer], str]:
    return lambda answer: _load(answer.placements[0]["largest_core"][name])


def _short(name: str) -> str:
    return SHORT.get(name, name.replace("_", " "))


def _load(load: dict[str, float]) -> str:
    most = f"{load['max']:,.0f}"
    of_steps = f"{load['mean']:,.0f} / {most}" if "mean" in load else most
    return f"{of_steps} (cores {load['core_mean']:,.0f})" if "core_mean" in load else of_steps


_LINES: tuple[tuple[str, Callable[[Answer], str]], ...] = (
    ("cores", lambda answer: str(answer.cores)),
    ("no fewer than", lambda answer: str(max(answer.at_least.values(), default=0))),
    ("neurons", _total("neurons")),
    ("weights, B", _total("synaptic_memory")),
    ("states and parameters, B", _total("neuron_memory")),
    ("a step: messages", _total("messages")),
    ("synaptic operations", _total("synaptic_operations")),
    ("on the largest core: messages in", _largest("messages_in")),
    ("messages out", _largest("messages_out")),
    ("synaptic operations", _largest("synaptic_operations")),
    ("step at least", lambda answer: _bound(answer.placements[0])),
)
