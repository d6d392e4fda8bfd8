"""``spikestrip to-nir``: a checkpoint or a NIR file as a NIR file."""

from __future__ import annotations

from pathlib import Path

import click

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import existing
from spikestrip.program import Program


@click.command("to-nir")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write; default: beside the input.")
def command(source: Path, out: Path | None) -> None:
    """Write SOURCE, a checkpoint (.pt, .safetensors) or a NIR file (.nir), as a canonical NIR file."""
    from convert.writers.nir import write

    existing(source)
    if out is None:
        out = source.with_suffix(".nir") if source.suffix != ".nir" else source.with_suffix(".canonical.nir")
    if out.exists() and out.samefile(source):
        raise BadInput(out, "is the input itself; give another name with -o")
    write(load_program(source), out)
    click.echo(f"{out}")


def load_program(source: Path) -> Program:
    """The program in a checkpoint or a NIR file."""
    if source.suffix == ".nir":
        from convert.readers.nir import read

        return read(source)
    from convert.strip import strip
    from train.checkpoint import load

    return strip(load(source))


if __name__ == "__main__":
    main(command)
