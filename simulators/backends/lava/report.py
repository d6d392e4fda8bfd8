"""What a process of the run tells the supervisor when something goes wrong: one packet on the line between them."""

from __future__ import annotations

import contextlib
import json
import socket
import traceback
from collections.abc import Iterator

from spikestrip.errors import BadInput, SimulatorFault, SpikestripError

LONGEST = 1 << 16


def send(line: socket.socket, where: str, reason: str, bad_input: bool = False) -> None:
    """Report; of a reason that is too long the end is kept. A supervisor who is gone needs no report."""
    packet = json.dumps({"where": where, "reason": reason[-8000:], "bad_input": bad_input})
    with contextlib.suppress(OSError):
        line.send(packet.encode())


def read(packet: bytes) -> SpikestripError:
    """The report as the error to be raised."""
    report = json.loads(packet)
    if report["bad_input"]:
        return BadInput(report["where"], report["reason"])
    return SimulatorFault(f"Lava, {report['where']}: {report['reason']}")


@contextlib.contextmanager
def exceptions(line: socket.socket, where: str) -> Iterator[None]:
    """Report what is raised inside, with its traceback, and end this process: Lava itself would wait for ever."""
    try:
        yield
    except BadInput as error:
        send(line, error.where, error.reason, bad_input=True)
    except BaseException:
        send(line, where, f"an exception ended the run\n{traceback.format_exc()}")
    else:
        return
    raise SystemExit(1)
