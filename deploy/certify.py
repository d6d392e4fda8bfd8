"""Which spikes can't differ on any conforming backend: ``python deploy/certify.py model.nir --input x.npy``."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.certification import Certificate, certify
from deploy.certification.arithmetics import ARITHMETICS, DEFAULT, INTEGERS
from simulators.shards import Over, shards_options, spread
from spikestrip.command import main
from spikestrip.errors import BadInput, within
from spikestrip.files import existing, writable

__all__ = ["Certificate", "certify", "command"]

OWN = Path()
"""What --check alone stands for: the certificate of -o."""


@click.command("certify")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), help="x.npy: (B, T, C), or ids.")
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(list(ARITHMETICS)),
    help=f"An arithmetic to certify for, several times for several (default: {', '.join(DEFAULT)}; {INTEGERS} where "
    "there are some).",
)
@click.option(
    "--twin",
    type=click.Path(path_type=Path),
    help="What quantize made of MODEL (model.q.nir): also certify which spikes its integers can't change.",
)
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A trace to hold against the certificate, which then names it; several times for several.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("certificate.json"), show_default=True)
@click.option(
    "--check",
    "checked",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=str(OWN),
    help="Re-verify this certificate, or -o's, from the files that it names, instead of writing one.",
)
@shards_options
def command(
    model: Path | None,
    source: Path | None,
    dtypes: tuple[str, ...],
    twin: Path | None,
    traces: tuple[Path, ...],
    output: Path,
    checked: Path | None,
    shards: int | None,
    scheduler: str | None,
) -> int:
    """Certify what MODEL (.nir or checkpoint) fires on an input: which spikes no conforming backend can change.

    Exit code 0: done; 1: a trace breaks the certificate, or --check doesn't hold; 2: bad input.
    """
    if checked is not None:
        checked = output if checked == OWN else checked
        if dtypes:
            raise BadInput("--dtype", "a certificate that is checked says itself what it covers")
        with spread(shards, scheduler) as over:
            sentences = _check(checked, {"model": model, "twin": twin, "input": source}, traces, over)
        for sentence in sentences:
            click.echo(sentence)
        click.echo(f"{checked}: {'does not hold' if sentences else 'holds'}")
        return 1 if sentences else 0
    if model is None or source is None:
        raise BadInput("certify", "needs a model and --input x.npy, or --check certificate.json")
    from deploy.certification import document
    from spikestrip.trace import read

    for target in (output, document.beside(output)):
        writable(target, (model, source, twin, *traces))
    read_traces = [read(trace) for trace in traces]
    with spread(shards, scheduler) as over:
        certificate = _computed(model, source, dtypes or None, twin, over)
    broken = [sentence for path, trace in zip(traces, read_traces, strict=True)
              for sentence in certificate.broken_by(trace, path)]  # fmt: skip
    for name, said in certificate.to_dict()["arithmetics"].items():
        click.echo(
            f"{name}: {said['verdict']}; {said['listed']:,} of {said['decisions']:,} decisions listed, "
            f"{100 * said['certified']:.4f}% certified, {said['unconditional']:,} unconditional"
        )
    for layer, apart in certificate.apart.items():
        click.echo(
            f"{layer}: membranes of integers up to {apart.largest:.3g} thresholds from float's on equal spikes, proven "
            f"{apart.bound:.3g} at the most; {apart.within:,} decisions within that"
        )
    for sentence in broken:
        click.echo(sentence)
    if broken:  # no certificate is written beside a trace that breaks it
        return 1
    document.write(certificate, output, model, source, traces, twin)
    click.echo(f"{output}: {certificate.verdict}")
    return 0


def _computed(
    model: Path, source: Path, dtypes: tuple[str, ...] | None, twin: Path | None, over: Over | None
) -> Certificate:
    from convert.load import load
    from spikestrip import inputs

    program = load(model)
    x = inputs.read(source, program.input_shape)
    integers = None if twin is None else load(twin)
    with within(model if twin is None else f"{model}, {twin}"):
        return certify(program, x, dtypes, integers, over)


def _check(path: Path, given: dict[str, Path | None], traces: tuple[Path, ...], over: Over | None) -> list[str]:
    """Sentences on why a certificate doesn't hold; none if it does."""
    from deploy.certification import document
    from spikestrip.trace import read

    value = document.read(path)
    sentences = document.altered(path, value)
    for name, file in given.items():
        if file is not None and document.sha256(existing(file)) != (value["files"].get(name) or {}).get("sha256"):
            sentences.append(f"{file}: is not the {name} that was certified")
    if sentences:
        return sentences
    files, covered = value["files"], tuple(value["arithmetics"])
    twin = None if files.get("twin") is None else document.resolved(path, files["twin"])
    model, source = (document.resolved(path, files[name]) for name in ("model", "input"))
    with within(path):
        anew = _computed(model, source, covered, twin, over)
    named = [document.resolved(path, entry) for entry in files["traces"]]
    sentences = document.contradicted(path, value, anew)
    for trace in (*named, *traces):
        sentences += anew.broken_by(read(trace), trace)
    return sentences


if __name__ == "__main__":
    main(command)
