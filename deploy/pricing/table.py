"""Bills on a terminal: all readings side by side, or one line by line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.pricing.bill import Bill, Range

UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))


def show(bills: Sequence[Bill], console: Console) -> None:
    """Print the total of each reading, or why it has none; of a single one its lines and prices too."""
    table = Table(box=SIMPLE, padding=(0, 1), title="energy of one sample", title_justify="left")
    for column in ("reading", "total", "grade, or why there is none"):
        table.add_column(column)
    for one in bills:
        table.add_row(one.table.name, Text("refused", "red") if one.total is None else joules(one.total), evidence(one))
    console.print(table)
    if len(bills) == 1:
        console.print(_lines(bills[0]))
        for term, price in bills[0].table.prices.items():
            cost = (
                "no price"
                if price.picojoules is None
                else joules((price.picojoules[0] * 1e-12, price.picojoules[1] * 1e-12))
            )
            line = ", ".join(part for part in (price.source, price.date, price.grade) if part)
            console.print(f"{term}: {cost} ({line})", markup=False, highlight=False, style="dim")
        for counter, why in bills[0].table.left_out.items():
            console.print(f"left out: {counter}: {why}", markup=False, highlight=False, style="dim")


def evidence(one: Bill) -> str:
    """The grades of the prices that were charged; where one is missing, which and why."""
    if one.missing:
        whys = dict.fromkeys(one.missing.values())
        terms = {why: ", ".join(term for term, its in one.missing.items() if its == why) for why in whys}
        return "; ".join(f"{named}: {why}" for why, named in terms.items())
    grades = {one.table.prices[term].grade for line in one.lines for term in line.terms}
    return ", ".join(sorted(grades))


def _lines(one: Bill) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1), title="by layer and counter, of one sample", title_justify="left")
    for column in ("layer", "counter", "charged as"):
        table.add_column(column)
    for column in ("count", "energy"):
        table.add_column(column, justify="right")
    for line in one.lines:
        energy = "no price" if line.joules is None else joules(line.joules)
        table.add_row(line.layer, line.counter, " + ".join(line.terms), f"{line.count:,.0f}", energy)
    return table


def joules(energy: Range) -> str:
    """Joules in the unit that suits them; a range where there is one."""
    scale, unit = next((row for row in UNITS if energy[1] >= row[0]), UNITS[-1])
    low, high = (f"{end / scale:.4g}" for end in energy)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
