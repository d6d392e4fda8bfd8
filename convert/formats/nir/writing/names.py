"""Names that a file can't hold, or that an importer would run in another order: layers are written under others.

The map stands in the file's metadata as ``renamed``: "old=new old=new".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping

from spikestrip.errors import BadInput
from spikestrip.program import Program

RENAMED = "renamed"


def free(program: Program, taken: Container[str]) -> dict[str, str]:
    """New names for the layers that bear one of ``taken``: a number is appended."""
    names = {layer.name for layer in program.layers}
    found: dict[str, str] = {}
    for name in sorted(name for name in names if name in taken):
        number = 1
        while f"{name}_{number}" in names or f"{name}_{number}" in taken:
            number += 1
        found[name] = f"{name}_{number}"
        names.add(found[name])
    return found


def numbered(names: list[str]) -> dict[str, str]:
    """New names that sort in the order of ``names``, between ``input`` and ``output``."""
    digits = len(str(len(names) - 1))
    return {name: f"n{number:0{digits}}_{name}" for number, name in enumerate(names)}


def renamed(program: Program, names: Mapping[str, str]) -> Program:
    """``program`` with other names for some layers. Raises BadInput where two would bear one name."""

    def new(sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(source, source) for source in sources)

    layers = tuple(
        dataclasses.replace(
            layer, name=names.get(layer.name, layer.name), inputs=new(layer.inputs), delayed=new(layer.delayed)
        )
        for layer in program.layers
    )
    return dataclasses.replace(program, layers=layers, output=names.get(program.output, program.output))


def as_text(names: Mapping[str, str]) -> str:
    """The map as the metadata hold it."""
    return " ".join(f"{old}={new}" for old, new in names.items())


def from_text(text: str) -> dict[str, str]:
    """The map that ``as_text`` wrote. Raises BadInput for anything else."""
    pairs = [pair.split("=") for pair in text.split()]
    if any(len(pair) != 2 for pair in pairs):
        raise BadInput("graph", f"metadata {RENAMED} is no list of old=new: {text!r}")
    return {old: new for old, new in pairs}
