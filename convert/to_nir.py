"""``spikestrip to-nir``: a checkpoint or a NIR file as a NIR file."""

from __future__ import annotations

from pathlib import Path

import click

from convert.load import CHECKPOINTS, files
from convert.options import announced, rules_options, stated
from spikestrip.command import main
from spikestrip.files import existing, writable


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
    """Write SOURCE, a checkpoint (.pt, .safetensors), a NIR file (.nir) or an ONNX file of ours, as a NIR file."""
    from convert.formats.nir.writing import write

    existing(source)
    if out is None:
        plain = dialect == "canonical" and source.suffix != ".nir"
        out = source.with_suffix(".nir" if plain else f".{dialect}.nir")
    writable(out, files(source))
    program = announced(source, stated(rules)).program
    names = write(program, out, dialect)
    click.echo(f"{out}")
    if source.suffix in CHECKPOINTS:
        from train.checkpoint import load

        if load(source).scales is not None:
            click.echo(f"the scales that {source} was trained with stay there: quantize {source}, not this file")
    for old, new in names.items():
        click.echo(f"{old} is written as {new}")
    if dialect == "sinabs":
        from convert.formats.nir.platforms.bounds import spikes_once

        click.echo(f"the same spikes in Sinabs while no input exceeds +-{spikes_once(program):.6g}")


if __name__ == "__main__":
    main(command)
