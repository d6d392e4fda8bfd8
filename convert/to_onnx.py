"""``spikestrip to-onnx``: a checkpoint or a NIR file as an ONNX model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from convert.load import files
from convert.options import announced, rules_options, stated
from spikestrip.command import event_step_option, main
from spikestrip.errors import Refused
from spikestrip.files import existing, named, writable
from spikestrip.inputs import expand, read


@click.command("to-onnx", context_settings={"show_default": True})
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write; default: beside the input.")
@click.option(
    "--form", type=click.Choice(["sequence", "step"]), default="sequence", help="All steps in a Scan, or one."
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", help="Of weights and states.")
@click.option("--functions", is_flag=True, help="Write OUT.fn.onnx as well, where each operation is a function.")
@click.option("--int8", "measured_on", type=click.Path(path_type=Path), metavar="X.NPY", help="Keep the weights that "
              "spikes reach in 8 bits, write that program as OUT.int8.nir as well, and say how many spikes it changes "
              "on this input (B, T, C).")  # fmt: skip
@event_step_option
@rules_options
def command(
    source: Path,
    out: Path | None,
    form: str,
    dtype: str,
    functions: bool,
    measured_on: Path | None,
    event_step: int | None,
    **rules: str | float | None,
) -> None:
    """Write SOURCE, a checkpoint (.pt, .safetensors) or a NIR file (.nir), as an ONNX model of standard operators."""
    from convert.formats.nir import writing
    from convert.formats.onnx import export, write
    from convert.lowering.int8 import cost, int8

    existing(source)
    eight = measured_on is not None
    out = source.with_suffix(".int8.onnx" if eight else ".onnx") if out is None else out
    lowered = named(out).with_name(f"{out.stem.removesuffix('.int8')}.int8.nir")
    paths = {out: False, out.with_suffix(".fn.onnx"): True} if functions else {out: False}
    for path in (*paths, *[lowered] * eight):
        writable(path, (*files(source), measured_on))
    program = announced(source, stated(rules)).program
    if measured_on is not None:
        x = expand(read(measured_on, program.input_shape, event_step), program.input_shape)
        original, program = program, int8(program)
        for layer, share in cost(original, program, x).items():
            click.echo(f"int8: {share:.3%} of the spikes of {layer} differ")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    exports = {
        path: export(program, form, dtype, functions=named, int8=eight, source=digest)  # type: ignore[arg-type]
        for path, named in paths.items()
    }
    if eight:  # the program that the file computes, for verify
        try:
            writing.write(program, lowered)
            click.echo(f"{lowered}")
        except Refused as reason:
            click.echo(f"no {lowered}: {reason}", err=True)
    for path, model in exports.items():
        write(model, path)
        click.echo(f"{path}")


if __name__ == "__main__":
    main(command)
