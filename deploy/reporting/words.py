"""How the numbers of the table are written."""

from __future__ import annotations

from deploy.reporting.folder import Row

COLUMNS = (
    "run", "on", "accuracy", "spiking rate", "differ", "by cause", "verdict",
    "synaptic ACs", "MACs", "seconds",
)  # fmt: skip
NOTHING = "\N{EN DASH}"


def cells(row: Row) -> list[str]:
    """One row, column by column."""
    return [
        row.name,
        row.runs_on,
        NOTHING if row.accuracy is None else f"{row.accuracy:.1%}",
        f"{row.spiking_rate:.2%}",
        NOTHING if row.differ is None else f"{row.differ:,}",
        ", ".join(f"{cause} {number:,}" for cause, number in row.causes.items()) or NOTHING,
        row.verdict,
        number(row.synaptic_acs),
        number(row.macs),
        NOTHING if row.seconds is None else f"{row.seconds:.2f}",
    ]


def number(value: float | None) -> str:
    """A count in three digits."""
    if value is None:
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
