"""The verdict on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from deploy.verification.causes import CAUSES, FAULTS
from deploy.verification.verdict import Verdict


def show(verdict: Verdict, console: Console) -> None:
    """Print the layers with their causes, the first differences, and why it passes or fails."""
    present = [cause for cause in CAUSES if cause in verdict.causes]
    table = Table(title=f"{_side(verdict, 'trace')} against {_side(verdict, 'reference')}")
    table.add_column("layer")
    for column in ("spikes", "differ"):
        table.add_column(column, justify="right")
    for cause in present:
        table.add_column(cause, justify="right", style="red" if cause in FAULTS else "")
    table.add_column("first at sample, step, neuron: u', reference u', threshold")
    for name, layer in verdict.layers.items():
        table.add_row(
            name,
            f"{layer['spikes']:,}",
            f"{layer['differ']:,}",
            *(f"{layer['causes'].get(cause, 0):,}" for cause in present),
            _first(layer["first"]),
        )
    console.print(table)
    output = verdict.output
    answers = f"argmax in {output['argmax_differ']} of {output['answers']}"
    console.print(f"output: differs by at most {output['max_abs']:.3g}, {answers}", highlight=False)
    for role, state in verdict.events.items():
        console.print(f"events of the {role}: {state}", highlight=False, markup=False)
    for note in verdict.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    for failure in verdict.failures:
        console.print(f"fail: {failure}", highlight=False, style="red", markup=False)
    console.print(f"verdict: {'pass' if verdict.passed else 'fail'}", style="bold")


def _side(verdict: Verdict, role: str) -> str:
    side = verdict.sides[role]
    return " ".join(str(side[name]) for name in ("backend", "parallel", "dtype") if name in side)


def _first(first: dict[str, object] | None) -> str:
    if first is None:
        return ""
    text = f"{first['sample']}, {first['step']}, {first['neuron']} ({first['cause']})"
    if "potential" in first:
        text += f": {first['potential']:.9g}, {first['reference_potential']:.9g}, {first['threshold']:.9g}"
    return text
