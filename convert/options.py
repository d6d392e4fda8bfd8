"""How a command reads a program, with the options that say how a graph of others is to be run; the same in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.formats.nir.reading.rules import IMPORTER, METHODS, Rules
from spikestrip.command import Finite

if TYPE_CHECKING:
    from convert.formats.nir.reading import Reading

OPTIONS = (
    click.option(
        "--dt", type=Finite(), help="Seconds of one step; this and the next three for graphs that we did not write."
    ),
    click.option(
        "--integrate", metavar="RULE", help=f"{', '.join(METHODS)}, or {IMPORTER}NAME (docs/nir-operations.md)."
    ),
    click.option("--compare", type=click.Choice(["ge", "gt"]), help="Fire at the threshold, or only above it."),
    click.option("--reset", type=click.Choice(["hard", "soft"]), help="Reset to a value, or by subtraction."),
)


def rules_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --dt, --integrate, --compare and --reset to a command; ``stated`` makes rules of them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def stated(options: dict[str, Any]) -> Rules | None:
    """The rules that were asked for, or None where none was. Raises BadInput for a value that is none."""
    given = {name: value for name, value in options.items() if value is not None}
    return Rules(**given) if given else None


def announced(source: Path, rules: Rules | None = None) -> Reading:
    """What ``convert.load.reading`` makes of a file, its remarks shown on stderr. Raises BadInput."""
    from convert.load import reading

    result = reading(source, rules)
    for remark in result.remarks:
        click.echo(f"{source}: {remark}", err=True)
    return result
