"""Runs a Lava network in a process of its own and watches it: a fault becomes an error, never a hang."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO

import numpy as np

from simulators.backends import Dtype, Progress
from simulators.backends.lava import report
from simulators.backends.lava.shared import SharedArrays
from spikestrip.errors import SimulatorFault
from spikestrip.program import Program

_LOOK_EVERY = 0.05  # seconds
_ENTRY = "import sys; from simulators.backends.lava.worker import main; main(*map(int, sys.argv[1:]))"


def run(program: Program, dtype: Dtype, arrays: SharedArrays, progress: Progress, patience: float) -> None:
    """Run ``program`` on ``arrays["input"]``; what it recorded is then in ``arrays``.

    Raises SimulatorFault with the traceback when any process of the run fails or is killed, or when no layer finishes a
    step for ``patience`` seconds; BadInput when a state overflows. Leaves no process and no named memory behind,
    whatever ends it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, tempfile.TemporaryFile() as job, tempfile.TemporaryFile() as noise:
        pickle.dump((program, dtype, arrays.layout), job)
        job.seek(0)
        worker = _start((theirs.fileno(), arrays.descriptor), job, noise)
        try:
            theirs.close()  # else we'd never see the end of the line
            _watch(ours, arrays, progress, patience)
            code = worker.wait()
            if code != 0 or _done(arrays).min() < arrays["input"].shape[1]:
                noise.seek(0)
                raise SimulatorFault(f"Lava ended by itself ({_meaning(code)})\n{noise.read()[-4000:].decode()}")
        finally:
            _end(worker, ours)


def _start(descriptors: tuple[int, int], job: IO[bytes], noise: IO[bytes]) -> subprocess.Popen[bytes]:
    # A fresh interpreter: Lava fixes multiprocessing's start method when imported, and forks, which a process with
    # threads (torch, onnxruntime) can't safely do. A session of its own: Ctrl-C reaches us alone, and we end the rest.
    search = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # one for each actor
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _ENTRY, *map(str, descriptors), str(os.getpid())],
        stdin=job,
        stdout=noise,
        stderr=noise,
        pass_fds=descriptors,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": search, **threads},
    )


def _watch(line: socket.socket, arrays: SharedArrays, progress: Progress, patience: float) -> None:
    """Until every process of the run has closed the line, which they do only by ending."""
    reported, moved, since = 0, 0, time.monotonic()
    while True:
        packet = None
        if select.select([line], [], [], _LOOK_EVERY)[0]:
            packet = line.recv(report.LONGEST)
            if packet:
                raise report.read(packet)
        done = _done(arrays)
        if done.sum() > moved:
            moved, since = done.sum(), time.monotonic()
        if done.min() > reported:
            progress(int(done.min()) - reported)
            reported = int(done.min())
        if packet == b"":
            return
        if time.monotonic() - since > patience:
            raise SimulatorFault(f"Lava stalled: {_slowest(arrays)} for {patience:g} seconds")


def _done(arrays: SharedArrays) -> np.ndarray:
    return np.array([arrays[name] for name in arrays.layout if name.startswith("done/")])


def _slowest(arrays: SharedArrays) -> str:
    done = _done(arrays)
    if not done.any():
        return "no layer finished its first step"
    names = [name.removeprefix("done/") for name in arrays.layout if name.startswith("done/")]
    return f"layer {names[done.argmin()]} did not finish step {done.min() + 1}"


def _meaning(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _end(worker: subprocess.Popen[bytes], line: socket.socket) -> None:
    """End the worker, who ends its actors; if it can't, the kernel does. The line's end says that all are gone."""
    if worker.poll() is None:
        worker.terminate()
        try:
            worker.wait(2)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    line.settimeout(5)
    with contextlib.suppress(TimeoutError):
        while line.recv(report.LONGEST):
            pass
