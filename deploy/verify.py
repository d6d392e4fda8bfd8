"""Compare two traces spike for spike: ``python deploy/verify.py reference.h5 trace.h5 --program model.nir``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.verification import Verdict, table, verify
from deploy.verification.differences import beside
from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import writable
from spikestrip.trace import read

if TYPE_CHECKING:
    from train.networks import Network

__all__ = ["Verdict", "command", "verify"]


@click.command("verify")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--program", "model", type=click.Path(path_type=Path), help="model.nir: needed to name causes.")
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
) -> int:
    """Compare TRACE with REFERENCE spike for spike, and name the cause of every difference.

    Exit code 0: pass; 1: fail; 2: the two can't be compared.
    """
    from rich.console import Console

    from convert.load import load

    models = (model, reference_model, trace_model)
    if report is not None:
        for target in (report, beside(report)):
            writable(target, (reference, trace, checkpoint, sdn, *models))
    program, reference_program, trace_program = (None if path is None else load(path) for path in models)
    if shrink is not None and (program is None or reference_model or trace_model or checkpoint):
        raise BadInput("--shrink", "needs --program, and can't yet judge a side that has a program of its own")
    sides = read(reference), read(trace)
    verdict = verify(
        *sides,
        program,
        reference_program=reference_program,
        trace_program=trace_program,
        network=_network(checkpoint, sdn),
    )
    table.show(verdict, Console())
    if report is not None:
        verdict.write(report)
    if shrink is not None and program is not None and not verdict.passed:
        from deploy.shrinking.making import by_trace

        made = by_trace(program, *sides, verdict, shrink)
        click.echo(f"{shrink}: {made.size}" if made else "not shrunk: the spikes alone don't fail in this way")
    return 0 if verdict.passed else 1


def _network(checkpoint: Path | None, sdn: Path | None) -> Network | None:
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
