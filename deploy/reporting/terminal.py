"""The report's table on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from deploy.reporting.folder import RunFolder
from deploy.reporting.words import COLUMNS, cells

SHOWN = ("run", "right", "differ", "by cause", "verdict", "synaptic ACs", "seconds")  # what 80 columns hold
WORDS = ("run", "by cause", "verdict")


def summary_table(folder: RunFolder) -> Table:
    """The table of a run folder: traces x right answers, differing spikes by cause, events, time."""
    caption = "CPU reference. " if folder.cpu_reference else ""
    caption += f"Refused by {', '.join(folder.refused)}. " if folder.refused else ""
    caption += f"Missing: {', '.join(folder.missing)}." if folder.missing else ""
    table = Table(box=SIMPLE, padding=0, pad_edge=False, caption=caption or None, caption_justify="left")
    shown = [COLUMNS.index(column) for column in SHOWN]
    for column in SHOWN:
        table.add_column(column.replace(" ", "\n"), justify="left" if column in WORDS else "right", no_wrap=True)
    for row in folder.rows():
        written = cells(row)
        style = "red" if row.verdict == "fail" else ""
        table.add_row(*(written[index].replace(", ", "\n") for index in shown), style=style)
    return table
