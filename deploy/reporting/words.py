"""What the report says in words, and how it writes numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from deploy.pricing.table import joules
from deploy.reporting.folder import Row, RunFolder
from deploy.run_folder import ITERATIVE, PARALLEL

COLUMNS = (
    "run", "on", "right", "spiking rate", "agreement", "differ", "by cause", "verdict",
    "synaptic ACs", "MACs", "energy", "seconds",
)  # fmt: skip
NOTHING = "\N{EN DASH}"

CAUSES = {
    "carried": "Right on both sides: each decided as its own history demands, and the histories differ because of an "
    "earlier difference.",
    "tie": "u' equals the threshold exactly where the arithmetic may round: either decision is right.",
    "rounding": "u' is within the proven rounding bound of the threshold: the order of sums decides.",
    "surrogate": "The surrogate (SDN), with which the network was trained, decides so; the iterative neuron doesn't.",
    "undecided": "The bounds of PMBC had not decided this spike after the iterations that it was given.",
    "quantisation": "Right by the integers of the chip, and not what the program in floating point decides.",
    "saturation": "The membrane had passed what the machine can hold.",
    "delay": "A layer's spikes are late, or it computes with the previous step's input.",
    "samples": "The samples stand in another order.",
    "comparison": "A tie is decided by > instead of >=, or the reverse.",
    "reset": "Another reset than the program's.",
    "bias": "A bias on the way to this layer is missing.",
    "wiring": "Neurons or samples have each other's spikes or inputs.",
    "input": "The input is scaled or shifted.",
    "state": "A state was kept from one sample to the next.",
    "parameter": "A threshold, a decay or a weight is another.",
    "systematic": "Within the rounding bound, but too often or too far to be rounding.",
    "undeclared": "This side says that it computed something else than the program, and that isn't at hand.",
    "unexplained": "Nothing that is known explains it.",
}
"""Each of ``verification.causes.CAUSES`` in one sentence."""


def cells(row: Row) -> list[str]:
    """One row, column by column."""
    return [
        row.name,
        row.runs_on,
        NOTHING if row.right is None else f"{row.right} of {row.answers}",
        f"{row.spiking_rate:.2%}",
        share(row.agreement),
        NOTHING if row.differ is None else f"{row.differ:,}",
        listing(row.causes) or NOTHING,
        row.verdict,
        number(row.synaptic_acs),
        number(row.macs),
        NOTHING if row.joules is None else joules(row.joules),
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


def clock(seconds: float) -> str:
    """A time, in seconds since 1970, as a clock of this machine shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """A time in the largest unit of which there are two."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def share(value: float | None) -> str:
    """A share in percent that never rounds to all where one is missing."""
    if value is None:
        return NOTHING
    digits = 2 if value == 1 or 1 - value >= 1e-4 else 6
    return f"{int(value * 10 ** (digits + 2)) / 10**digits:.{digits}f}%"


def listing(counts: Mapping[str, int]) -> str:
    """Causes with their numbers."""
    return ", ".join(f"{cause} {count:,}" for cause, count in counts.items())


def passed(rows: Sequence[Row]) -> bool:
    """True where every run has a verdict, and none failed."""
    return all(row.verdict in ("pass", "reference") for row in rows)


def sentence(folder: RunFolder, rows: Sequence[Row]) -> str:
    """What was proven, or why nothing was."""
    failed = [row.name for row in rows if row.verdict == "fail"]
    unjudged = [row.name for row in rows if row.verdict == "missing"]
    if failed:
        return f"Not verified: {', '.join(failed)} {'fails' if len(failed) == 1 else 'fail'}; the reasons stand below."
    if unjudged:
        return f"Not verified: there is no verdict on {', '.join(unjudged)}."
    others = [row for row in rows if row.run not in (ITERATIVE, PARALLEL)]
    if not others and not folder.verdicts:
        return "Nothing was compared: the folder holds one run."
    parts = []
    equal = [row for row in others if row.differ == 0]
    if equal:
        parts.append(f"the stripped network fired the same on {_and([row.name for row in equal])} as in the iterative "
                     f"reference, spike for spike, in each of {equal[0].decisions:,} decisions")  # fmt: skip
    for row in rows:
        if row.differ:
            parts.append(
                f"each of the {row.differ:,} spikes ({share(row.differ / row.decisions)}) in which {row.name} differs "
                f"has its cause: {listing(row.causes)}"
            )
        elif row.run == PARALLEL:
            parts.append(f"{row.name}, the network as it was trained, fired the same")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
