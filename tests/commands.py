"""Commands as a user's shell sees them, without the seconds that a new interpreter takes."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import click

from spikestrip import command as spikestrip_command


class Done(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run(command: click.Command, *arguments: object) -> Done:
    """Run ``command`` with ``arguments``, through the wrapper that every script uses."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            spikestrip_command.main(command, [str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    return Done(code if isinstance(code, int) else 1, stdout.getvalue(), stderr.getvalue())
