"""Does a program fit on a chip: ``python deploy/fit.py model.nir --chip loihi2``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convert.load import files
from convert.options import announced, rules_options, stated
from spikestrip.command import main, terminal
from spikestrip.errors import BadInput, Refused

if TYPE_CHECKING:
    from deploy.fitting.answer import Answer
    from deploy.fitting.chip import Chip
    from deploy.fitting.measured import Measured
    from spikestrip.program import Program


def fit(program: Program, chip: Chip, measured: Measured | None = None) -> Answer:
    """Whether ``program`` fits on ``chip``, and on which cores; loads are counted over the run in ``measured``."""
    from deploy.fitting import loihi2, speck

    return {"loihi2": loihi2.fit, "speck": speck.fit}[chip.family](program, chip, measured)


def _parts(program: Program, chip: Chip) -> list[str]:
    """What of a program that a Speck can't hold could be on one, the rest on the host."""
    from deploy.fitting.split import longest

    try:
        cut = longest(program, chip).cut
    except Refused:
        return []
    return [f"{cut}: what comes behind it fits: quantize --cut {cut} makes a part for the host and one for the chip"]


@click.command("fit")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--chip", "name", required=True, help="loihi2, speck2e, speck2f, or a .toml file with a chip's limits.")
@click.option("--input", "source", type=click.Path(path_type=Path), help="x.npy: (B, T, C), to measure rates on.")
@click.option("--trace", type=click.Path(path_type=Path), help="t.h5: a run of MODEL, to take its rates.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the answer here too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the cores as a PNG here.")
@click.option("--samna", type=click.Path(path_type=Path), help="Write a Speck's configuration here, through samna.")
@rules_options
def command(
    models: tuple[Path, ...], name: str, source: Path | None, trace: Path | None, report: Path | None,
    plot: Path | None, samna: Path | None, **rules: str | float | None,
) -> int:  # fmt: skip
    """Say whether the network in MODEL (.nir, .onnx, .pt, .safetensors) fits on a chip, on which cores, or why not.

    Several models, such as one network's two mappings, are compared side by side. Exit code 0: it fits, or all do;
    1: it does not; 2: it can't be judged.
    """
    from deploy.fitting import chip, measured, table
    from deploy.fitting.answer import FORMAT, VERSION
    from spikestrip.files import atomic, distinct, writable, write_json, write_text

    if source is not None and trace is not None:
        raise BadInput("--trace", "is not given together with --input: rates come from one run")
    if len(models) > 1 and (trace is not None or plot is not None or samna is not None):
        raise BadInput("--trace, --plot, --samna", "are of one model; --input measures the rates of several")
    if len(set(models)) < len(models):
        raise BadInput("MODEL", "is given twice")
    distinct(report, plot, samna)
    for target in (report, plot, samna):
        if target is not None:
            writable(target, (*(file for model in models for file in files(model)), source, trace, name))
    known = chip.read(name)
    if samna is not None and known.family != "speck":
        raise BadInput("--samna", f"is for a Speck; {known.name} has no such configuration")
    answers = {}
    for model in models:
        program = announced(model, stated(rules)).program
        run = None
        if source is not None:
            run = measured.simulated(program, source)
        elif trace is not None:
            run = measured.recorded(program, trace)
        answer = answers[str(model)] = fit(program, known, run)
        if known.family == "speck" and not answer.fits:
            answer.notes += _parts(program, known)
    if len(answers) > 1:
        table.compare(answers, terminal())
    else:
        table.show(answer, terminal())
    if report is not None:
        found = [{"model": model, **answer.json()} for model, answer in answers.items()]
        write_json(report, found[0] if len(found) == 1 else {"format": FORMAT, "version": VERSION, "compared": found})
    if plot is not None:
        from deploy.fitting.picture import draw

        figure = draw(answer)
        with atomic(plot) as path:
            figure.savefig(path, format="png", dpi=150)
    if samna is not None and answer.fits:
        from simulators.backends.sinabs.dynapcnn import configuration

        cores = {layer: core.index for core in answer.placed for layer in core.layers}
        text = configuration(program, cores, known.name.lower().replace(" ", "") + "devkit")
        write_text(samna, text)
    return 0 if all(answer.fits for answer in answers.values()) else 1


if __name__ == "__main__":
    main(command)
