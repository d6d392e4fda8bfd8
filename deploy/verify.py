"""Compare two traces spike for spike: ``python deploy/verify.py reference.h5 trace.h5 --program model.nir``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convert.load import files
from convert.options import announced, rules_options, stated
from deploy.verification import Verdict, table, verify
from deploy.verification.differences import beside
from simulators.shards import shards_options, spread
from spikestrip.command import main, terminal
from spikestrip.errors import BadInput
from spikestrip.files import writable
from spikestrip.trace import read

if TYPE_CHECKING:
    from convert.formats.nir.reading.rules import Rules
    from spikestrip.program import Program
    from train.building import AnyNetwork

__all__ = ["Verdict", "command", "verify"]


@click.command("verify")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--program",
    "model",
    type=click.Path(path_type=Path),
    help="model.nir: needed to name causes.",
)
@click.option("--reference-program", "reference_model", type=click.Path(path_type=Path),
              help="What REFERENCE really computed, where that is another program (a quantised one).")  # fmt: skip
@click.option("--trace-program", "trace_model", type=click.Path(path_type=Path), help="The same of TRACE.")
@click.option("--checkpoint", type=click.Path(path_type=Path),
              help="ckpt.pt: needed where a side was computed by sdn, or by pmbc in M iterations.")  # fmt: skip
@click.option("--sdn", type=click.Path(path_type=Path), help="The surrogate, where it isn't the checkpoint's own.")
@click.option(
    "--json",
    "report",
    type=click.Path(path_type=Path),
    help="Write the verdict here too, and NAME.differences.h5 beside it.",
)
@click.option(
    "--shrink",
    type=click.Path(path_type=Path),
    help="Where it fails: cut the failure down, and write it as a folder (needs --program).",
)
@shards_options
@rules_options
def command(
    reference: Path,
    trace: Path,
    model: Path | None,
    reference_model: Path | None,
    trace_model: Path | None,
    checkpoint: Path | None,
    sdn: Path | None,
    report: Path | None,
    shrink: Path | None,
    shards: int | None,
    scheduler: str | None,
    **rules: str | float | None,
) -> int:
    """Compare TRACE with REFERENCE spike for spike, and name the cause of every difference.

    A program is a NIR file or a checkpoint; a graph that we did not write is read by the rules that its trace ran by.

    Exit code 0: pass; 1: fail; 2: the two can't be compared.
    """
    models = (model, reference_model, trace_model)
    if report is not None:
        read_too = [file for path in models if path is not None for file in files(path)]
        for target in (report, beside(report)):
            writable(target, (reference, trace, checkpoint, sdn, *read_too))
    program, reference_program, trace_program = _programs(models, stated(rules))
    if shrink is not None and (program is None or checkpoint):
        raise BadInput("--shrink", "needs --program, and can't cut a network that --checkpoint holds to its surrogate")
    sides = read(reference), read(trace)
    network = _network(checkpoint, sdn)
    with spread(shards, scheduler) as over:
        verdict = verify(
            *sides,
            program,
            reference_program=reference_program,
            trace_program=trace_program,
            network=network,
            over=over or map,
        )
    table.show(verdict, terminal())
    if report is not None:
        verdict.write(report)
    if shrink is not None and program is not None and not verdict.passed:
        from deploy.shrinking.making import by_sides, by_trace

        owns = (trace_program or program, sides[1]), (reference_program or program, sides[0])
        quantised = reference_program or trace_program
        made = by_sides(owns, shrink) if quantised else by_trace(program, *sides, verdict, shrink)
        click.echo(f"{shrink}: {made.size}" if made else "not shrunk: the spikes alone don't fail in this way")
    return 0 if verdict.passed else 1


def _programs(models: Sequence[Path | None], rules: Rules | None) -> list[Program | None]:
    """Each model's program; ``rules`` go to the NIR files among them, of which there must be one then."""
    if rules is not None and not any(path is not None and path.suffix == ".nir" for path in models):
        raise BadInput("--program", "is no NIR file: rules of integration are for the graph that it holds")
    return [
        path if path is None else announced(path, rules if path.suffix == ".nir" else None).program for path in models
    ]


def _network(checkpoint: Path | None, sdn: Path | None) -> AnyNetwork | None:
    if checkpoint is None:
        if sdn is not None:
            raise BadInput("--sdn", "needs --checkpoint too: the network whose neurons it stands for")
        return None
    from train.checkpoint import load
    from train.neurons import sdn as surrogates

    network = load(checkpoint).network
    if sdn is not None:
        network.set_surrogate(surrogates.load(sdn, network.config.tau))
    return network


if __name__ == "__main__":
    main(command)
