"""What every command does in the same way: end in one line and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from spikestrip.errors import SpikestripError


def main(command: click.Command) -> NoReturn:
    """Run a click command: exit 0 done, 1 a check failed, 2 bad input (one line on stderr)."""
    try:
        code = command.main(standalone_mode=False)
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
