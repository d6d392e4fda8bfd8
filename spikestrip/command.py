"""What every command does in the same way: end in one line and an exit code."""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from spikestrip.errors import BadInput, SpikestripError, printable

if TYPE_CHECKING:
    from rich.console import Console

DEBUG = "SPIKESTRIP_DEBUG"
"""Set, an error of the environment or of our own is a traceback."""

MOST = 2**31 - 1
"""Of an option that counts something: beyond it no machine has so many, and arithmetic ends."""


class Finite(click.FloatRange):
    """A number in a range that is one: every comparison with NaN is false, so that no range keeps it out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The float; click's own error for NaN and infinity."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


event_step_option = click.option(
    "--event-step", type=click.IntRange(1, 2**63 - 1), help="Of an .npy file of events: a step, in the unit of their t."
)
"""For every command whose --input may be events (``spikestrip.events``)."""


def terminal(**options: Any) -> Console:
    """A rich console for tables in which names of a file stand: "[red]" and ":smile:" are no commands in them."""
    from rich.console import Console

    return Console(markup=False, emoji=False, **options)


def main(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a click command on ``arguments`` (default: the process's own) and exit.

    0 done, 1 a check failed, 2 bad input, a package that isn't installed, or a disk or a memory that has no room, 3 an
    error of ours; 130 interrupted, 129 or 143 hung up or terminated, 141 nobody reads the output any more. One line on
    stderr, whatever a file holds (docs/security.md).
    """
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, _terminated)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for, as on stderr
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check_arguments(given)
        code = command.main(arguments, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort as ended:
        if isinstance(ended.__cause__, EOFError):  # click takes a file that ends too soon for a terminal that does
            _ours(ended.__cause__)
        _fail("interrupted", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except SpikestripError as error:
        _fail(str(error), error.exit_code)
    except _Terminated as ended:
        _fail(f"ended by {signal.Signals(int(str(ended)) - 128).name}", int(str(ended)))
    except (SystemExit, BrokenPipeError) as ended:
        if isinstance(ended, SystemExit) and ended.code != 1:  # click makes 1 of a closed pipe; no command of ours does
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter's own flush complains
        sys.exit(141)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, OSError):
            where = "".join(f"{os.fsdecode(name)}: " for name in [error.filename] if isinstance(name, str | bytes))
            _fail(f"{where}{error.strerror or error}", 2)
        if isinstance(error, ModuleNotFoundError):
            from spikestrip.extras import missing

            lacks = missing(error.name or "", [str(command.name), *given[:1]])
            if lacks is not None:
                _fail(lacks, 2)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's is a RuntimeError
            _fail(f"memory: there is not enough ({error})", 2)
        _ours(error)
    sys.exit(code if isinstance(code, int) else 0)


def _ours(error: Exception) -> NoReturn:
    if os.environ.get(DEBUG):
        raise error
    said = f"{type(error).__name__}: {error}"
    _fail(f"internal, and ours: {said}; please report it, with what {DEBUG}=1 prints", 3)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Names of files are shown, and ``*.h5`` may stand for one that somebody else chose."""
    for argument in arguments:
        plain = "".join(one for one in argument if one not in "\n\t" and not "\ud800" <= one <= "\udfff")
        if not plain.isprintable():
            raise BadInput(repr(argument), "holds control characters, which would steer a terminal")


class _Terminated(SystemExit):
    """A signal asked the process to end."""


def _terminated(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C does, by way of every ``finally``: no temporary file and no process is left."""
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated(128 + number)


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An interrupt that fell into a destructor or a callback, where Python drops it, is given once more."""
    number = signal.SIGINT
    if isinstance(lost.exc_value, _Terminated):
        number = signal.Signals(int(str(lost.exc_value)) - 128)
        signal.signal(number, _terminated)
    elif not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(0.01, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _fail(message: str, code: int) -> NoReturn:
    text = message if code == 1 else printable(message)  # a simulator's traceback has its lines
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)
