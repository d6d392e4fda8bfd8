"""What every command does in the same way: end in one line and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from spikestrip.errors import SpikestripError

event_step_option = click.option(
    "--event-step", type=click.IntRange(1), help="Of an .npy file of events: a step, in the unit of their t."
)
"""For every command whose --input may be events (``spikestrip.events``)."""


def main(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a click command on ``arguments`` (default: the process's own) and exit.

    0 done, 1 a check failed, 2 bad input (one line on stderr).
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        code = command.main(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except SpikestripError as error:
        _fail(str(error), error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {' '.join(message.splitlines()) if code == 2 else message}", file=sys.stderr)
    sys.exit(code)
