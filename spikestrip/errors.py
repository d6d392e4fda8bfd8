"""Errors that a user can act on: each becomes one line on the terminal and an exit code."""

from __future__ import annotations


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


class Refused(BadInput):
    """A backend, a writer or a chip can't hold a layer exactly, and says which layer and why."""


class SimulatorFault(SpikestripError):
    """A simulator died or hung while it ran; the message holds its traceback."""
