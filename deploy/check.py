"""Run a NIR graph under every platform's rule: ``python deploy/check.py any.nir --input x.npy``."""

from __future__ import annotations

from pathlib import Path

import click

from spikestrip.command import Finite, event_step_option, main, terminal


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), help="x.npy: (B, T, C); default: random spikes.")
@click.option("--dt", type=Finite(), help="Seconds of one step; default: 1e-4, and 1 for canonical files.")
@click.option("--reset", type=click.Choice(["hard", "soft"]), help="For a file that doesn't say it.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the answer here too.")
@event_step_option
def command(
    model: Path, source: Path | None, dt: float | None, reset: str | None, report: Path | None, event_step: int | None
) -> int:
    """Run the NIR graph MODEL under every platform's rule, and say who fires otherwise, where first, and why.

    Exit code 0: all that can run it agree; 1: some differ; 2: the graph or the input can't be used,
    or no platform is known to run it.
    """
    from simulators.checking import check, table
    from spikestrip.files import writable

    if report is not None:
        writable(report, (model, source))
    console = terminal()
    with terminal(stderr=True).status("running the graph under every rule"):
        result = check(model, source, dt, reset, event_step)
    table.show(result, console)
    if report is not None:
        table.write(result, report)
    if not result.judged:
        return 2
    return 0 if result.agrees else 1


if __name__ == "__main__":
    main(command)
