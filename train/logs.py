"""What a training writes for others to read while it runs: its options, a row an epoch, a row every few batches."""

from __future__ import annotations

import csv
import io
import os
from itertools import pairwise
from typing import Any

from spikestrip.errors import BadInput
from spikestrip.files import atomic, check_text, existing, parsing, read_text
from spikestrip.schema import LARGEST

EXPERIMENT, EPOCHS, CURVE = "experiment.toml", "epochs.csv", "curve.csv"
"""The files' names in the folder of a run."""
STATE = "last.pt"
"""What a run resumes from, there too."""
SHARDS = "last.*.*.safetensors"
"""And where several processes trained it, beside it, what each of them wrote: a pattern."""
TEXTS = ("method",)
"""The columns that hold no numbers."""

Columns = dict[str, list[Any]]
"""A log by column: texts in those of ``TEXTS``, else floats, or None for what isn't finite or is beyond any count."""


def write(path: str | os.PathLike[str], rows: list[dict[str, Any]]) -> None:
    """Write ``rows``, all with the columns of the first, as CSV."""
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def read(path: str | os.PathLike[str], rises: str, *needs: str) -> Columns:
    """The columns of a log, up to its last whole line; {} where not even its header is whole.

    rises: a column of whole numbers that count up from 1 or later; needs: others that must be there. Raises BadInput.
    """
    file = existing(path)
    with parsing(file, "is not a readable CSV file"):
        whole = read_text(file).rpartition("\n")[0]
        lines = list(csv.reader(io.StringIO(whole, newline=""), strict=True))
    if not lines:
        return {}
    header, *rows = lines
    missing = [name for name in (rises, *needs) if name not in header]
    if missing or len(set(header)) < len(header):
        raise BadInput(file, f"lacks the column {missing[0]!r}" if missing else "names a column twice")
    columns: Columns = {name: [] for name in header}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise BadInput(file, f"line {number} has {len(row)} columns, the header {len(header)}")
        for name, text in zip(header, row, strict=True):
            columns[name].append(text if name in TEXTS else _number(file, number, name, text))
    counted = [0, *columns[rises]]
    if any(after is None or after % 1 or before >= after for before, after in pairwise(counted)):
        raise BadInput(file, f"{rises!r} doesn't count up")
    check_text(file, [header, *(columns[name] for name in TEXTS if name in columns)])
    return columns


def _number(file: object, line: int, name: str, text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        raise BadInput(file, f"line {line}: {name!r} is {text[:80]!r}, not a number") from None
    return value if abs(value) <= LARGEST else None
