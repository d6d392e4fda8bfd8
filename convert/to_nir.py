"""``spikestrip to-nir``: a checkpoint or a NIR file as a NIR file."""

from __future__ import annotations

from pathlib import Path

import click

from convert.formats.nir.reading.rules import Rules
from convert.options import rules_options, stated
from spikestrip.command import main
from spikestrip.files import existing, writable
from spikestrip.program import Program


@click.command("to-nir")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write; default: beside the input.")
@click.option(
    "--dialect",
    type=click.Choice(["canonical", "snntorch", "sinabs"]),
    default="canonical",
    show_default=True,
    help="canonical: every layer exact; or the file from which that stock importer makes the same spikes, if it can.",
)
@rules_options
def command(source: Path, out: Path | None, dialect: str, **rules: str | float | None) -> None:
    """Write SOURCE, a checkpoint (.pt, .safetensors) or a NIR file (.nir), as a NIR file."""
    from convert.formats.nir.writing import write

    existing(source)
    if out is None:
        plain = dialect == "canonical" and source.suffix != ".nir"
        out = source.with_suffix(".nir" if plain else f".{dialect}.nir")
    writable(out, files(source))
    program = load_program(source, stated(rules))
    names = write(program, out, dialect)
    click.echo(f"{out}")
    for old, new in names.items():
        click.echo(f"{old} is written as {new}")
    if dialect == "sinabs":
        from convert.formats.nir.platforms.bounds import spikes_once

        click.echo(f"the same spikes in Sinabs while no input exceeds +-{spikes_once(program):.6g}")


def files(source: Path) -> tuple[Path, ...]:
    """All that ``load_program(source)`` reads."""
    if source.suffix == ".nir":
        return (source,)
    from train import checkpoint

    return checkpoint.files(source)


def load_program(source: Path, rules: Rules | None = None) -> Program:
    """The program in a checkpoint, or in a NIR file read by ``rules``; remarks on the reading go to stderr."""
    from convert.load import reading

    result = reading(source, rules)
    for remark in result.remarks:
        click.echo(f"{source}: {remark}", err=True)
    return result.program


if __name__ == "__main__":
    main(command)
