"""A NIR file as a program: one of ours exactly, any other by an explicit rule."""

from __future__ import annotations

import dataclasses
import os
import warnings

from convert.formats.nir.reading import canonical, standard
from convert.formats.nir.reading.loading import load
from convert.formats.nir.reading.metadata import word
from convert.formats.nir.reading.rules import IMPORTER, Rules
from spikestrip.errors import BadInput
from spikestrip.program import Program


@dataclasses.dataclass(frozen=True)
class Reading:
    """A program and what a careful reader should know about how it was read."""

    program: Program
    remarks: tuple[str, ...] = ()


def read(path: str | os.PathLike[str], rules: Rules | None = None) -> Program:
    """The program that a NIR file says; each remark of ``reading`` is given as a Python warning."""
    result = reading(path, rules)
    for remark in result.remarks:
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    return result.program


def reading(path: str | os.PathLike[str], rules: Rules | None = None) -> Reading:
    """Read a NIR file: a canonical one exactly as it was written (``rules`` don't apply to it), any other by ``rules``
    (default: as the importer that it was written for, or ``Rules()``).

    Raises BadInput in one line naming file, node and reason: unknown types, missing edges, NaN, wrong shapes, cycles
    that can't run, a reset that nobody stated, standard nodes that disagree with the exact values beside them.
    """
    loaded = load(path)
    try:
        dialect = word(loaded.graph.metadata, "spikestrip")
        if dialect == "canonical":
            unused = ("is canonical: rules of integration do not apply to it",) if rules is not None else ()
            return Reading(canonical.program(loaded.graph), unused)
        if rules is None:
            rules = Rules() if dialect is None else Rules(integrate=f"{IMPORTER}{dialect}")
        return Reading(*standard.program(loaded, rules))
    except BadInput as error:
        where = error.where if error.where.startswith(("graph", "--")) else f"node {error.where}"
        raise type(error)(loaded.source, f"{where}: {error.reason}") from error
