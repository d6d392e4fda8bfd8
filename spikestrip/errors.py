"""Errors that a user can act on: each becomes one line on the terminal and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SpikestripError(Exception):
    """Base of every error that Spikestrip raises on purpose. ``exit_code`` is what a command returns for it."""

    exit_code = 1


class BadInput(SpikestripError):
    """Something handed to us can't be used: a file, an array, an option.

    ``where`` names the file and, if there is one, the layer; ``reason`` says what is wrong with it.
    """

    exit_code = 2

    def __init__(self, where: object, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = str(where)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, str]]:  # it may come from another process
        return type(self), (self.where, self.reason)


class Refused(BadInput):
    """A backend, a writer or a chip can't hold a layer exactly, and says which layer and why."""


class SimulatorFault(SpikestripError):
    """A simulator died or hung while it ran; the message holds its traceback."""


@contextmanager
def within(file: object) -> Iterator[None]:
    """A BadInput of what stands inside, which knows the layer but not the file, names ``file`` too."""
    try:
        yield
    except BadInput as error:
        raise type(error)(file, str(error)) from error


LONGEST = 1000  # characters of a message: a file can hold a name of megabytes


def printable(text: str) -> str:
    """``text`` as one line of at most ``LONGEST`` characters, whose control characters are escaped: a name in a file
    must not steer a terminal."""
    line = " ".join(text.split("\n"))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - 205]} ... {line[-200:]}"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
