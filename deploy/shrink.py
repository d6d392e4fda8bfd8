"""Make a failure small: ``python deploy/shrink.py model.nir --input x.npy --check 'CMD {model} {input}' -o OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from simulators.backends import Dtype
from spikestrip.command import main
from spikestrip.errors import BadInput


@click.command("shrink")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="x.npy: (B, T, C), or ids.")
@click.option(
    "--check", "judge_command", help="A command with {model} and {input}: it fails when it ends in another code than 0."
)
@click.option("--fail-regex", default="", help="And prints what this finds.")
@click.option("--backend", help="In the place of --check: run it there, and let verify judge.")
@click.option(
    "--dtype", type=click.Choice(get_args(Dtype)), default="float64", show_default=True, help="With --backend."
)
@click.option(
    "--trace-program", type=click.Path(path_type=Path), help="With --backend: what really runs there, same layers."
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write, or to go on in."
)
def command(
    model: Path,
    source: Path,
    judge_command: str | None,
    fail_regex: str,
    backend: str | None,
    dtype: Dtype,
    trace_program: Path | None,
    output: Path,
) -> int:
    """Cut samples, steps, layers, neurons and weights of MODEL while the same failure stays.

    Exit code 0: done; 1: it doesn't fail; 2: bad input. Broken off, the same command given again goes on where it was.
    """
    from convert.load import load
    from deploy.shrinking.case import Case
    from deploy.shrinking.judges import CommandJudge, VerifyJudge
    from deploy.shrinking.making import by_command, by_verify
    from spikestrip import inputs

    if (judge_command is None) == (backend is None):
        raise BadInput("shrink", "needs either --check CMD or --backend NAME as its judge")
    if trace_program is not None and backend is None:
        raise BadInput("--trace-program", "goes with --backend")
    program = load(model)
    x = inputs.read(source, program.input_shape)
    programs = (program,) if trace_program is None else (program, load(trace_program))
    case = Case(programs, x)
    if judge_command is not None:
        made = by_command(case, CommandJudge(judge_command, fail_regex), output)
    else:
        made = by_verify(case, VerifyJudge(str(backend), dtype), output)
    click.echo(f"{output}: {made.size}" if made else "it does not fail: there is nothing to shrink")
    return 0 if made else 1


if __name__ == "__main__":
    main(command)
