"""The process that hosts a Lava run, and the life and death of it and of Lava's processes, the actors.

It ends, and ends its actors, whenever one of them ends before the run is done, its parent ends, or it is told to.
Signals do all of this, while the main thread waits in Lava's blocking run.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import socket
import sys
from typing import NoReturn

from simulators.backends.lava import network, report
from simulators.backends.lava.shared import SharedArrays

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_prctl = ctypes.CDLL(None).prctl


def main(line_descriptor: int, memory_descriptor: int, parent: int) -> NoReturn:
    """Run the job on standard input, a pickle of (program, dtype, layout of the shared arrays), and exit."""
    signal.signal(signal.SIGTERM, lambda *_: _end(1))
    _die_with(parent, signal.SIGKILL)  # which reaches a stopped process too; its actors die with it
    line = socket.socket(fileno=line_descriptor)
    try:
        with report.exceptions(line, "its runtime"):
            program, dtype, layout = pickle.load(sys.stdin.buffer)
            arrays = SharedArrays(layout, memory_descriptor)
            signal.signal(signal.SIGCHLD, lambda *_: _actor_ended(arrays, line))
            worker = os.getpid()
            os.register_at_fork(after_in_child=lambda: _begin_actor(worker))
            network.run(program, dtype, arrays, line)
    finally:
        _end(sys.exception() is not None)


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    """Have the kernel send ``death_signal`` to this process when its parent ends."""
    _prctl(_SET_DEATH_SIGNAL, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _begin_actor(worker: int) -> None:
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _die_with(worker, signal.SIGKILL)


def _actor_ended(arrays: SharedArrays, line: socket.socket) -> None:
    """Report the actor that ended, which none does by itself, and end the run."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return
    names = [name.removeprefix("pid/") for name in arrays.layout if name.startswith("pid/")]
    where = next((f"layer {name}" for name in names if arrays[f"pid/{name}"] == ended.si_pid), "its own service")
    if ended.si_code == os.CLD_EXITED:
        reason = f"its process exited with code {ended.si_status}"
    else:
        reason = f"its process was killed by {signal.Signals(ended.si_status).name}"
    report.send(line, where, reason)
    _end(1)


def _end(code: int) -> NoReturn:
    """End the actors, whatever state they are in, and then this process, without a word to Lava, which might wait."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    actors = [actor.pid for actor in multiprocessing.active_children() if actor.pid is not None]
    for actor in actors:
        os.kill(actor, signal.SIGKILL)
    for actor in actors:
        os.waitpid(actor, 0)
    os._exit(code)
