"""How many threads compute a training step, and how they wait for each other.

Two kinds of work share them. A compiled loop (``train.neurons.scan.on_threads``) is taken part by part, by whichever
thread has a core, and rounds the same on any number of them. An operation of torch's own is cut into as many pieces as
there are threads, ends when the last one does, and its number of pieces can fix the last bits of a sum. Where other
work shares the cores, such an operation waits for the thread that has lost its own.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SPINS = 10_000  # some tens of microseconds: longer than a barrier's own wait, far shorter than a time slice
WATCHED = 0.25  # seconds, some tens of the system's own ticks

_loops = 0  # threads of compiled loops, where they are more than torch's


class Choice(NamedTuple):
    """Threads of torch's own operations, and what is said of it."""

    operations: int
    says: str


def choose() -> Choice | None:
    """Let OpenMP's threads spin for a short while at a barrier, then sleep; and count the cores that are free.

    By default they spin on. Where one of them has lost its core to other work, the others spin for as long as the
    system leaves them; where they sleep at once, each barrier of an idle machine costs a wake. A bound is near the
    better of both (docs/how-to-train.md). Returns None, and chooses nothing, where the user has chosen how threads wait
    (GOMP_SPINCOUNT, OMP_WAIT_POLICY), where torch is loaded already, and with one thread.
    """
    if "torch" in sys.modules or os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return None
    cores = _cores()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdecimal() else len(cores)
    if threads < 2:
        return None
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    says = f"{threads} threads spin briefly while they wait, then sleep (GOMP_SPINCOUNT={SPINS})"
    free = free_cores(cores)
    operations = threads
    if round(free) < min(threads, len(cores)):
        operations = max(1, round(free))
        says += f"; {free:.1f} of {len(cores)} cores are free: torch's own operations on {operations} of them"
    return Choice(operations, says)


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def free_cores(cores: set[int]) -> float:
    """How many of ``cores`` nothing ran on for a moment; all of them where the system doesn't tell (/proc/stat)."""
    before = _ticks()
    time.sleep(WATCHED)
    after = _ticks()
    free = 0.0
    for core in cores:
        passed = [b - a for a, b in zip(before.get(core, ()), after.get(core, ()), strict=False)]
        free += sum(passed[3:5]) / sum(passed) if sum(passed) else 1.0
    return free


def _ticks() -> dict[int, list[int]]:
    """What each core has spent so far: user, nice, system, idle, waiting for input and output, ..."""
    try:
        lines = Path("/proc/stat").read_text("ascii").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines)
    return {int(row[0][3:]): list(map(int, row[1:9])) for row in rows if row and row[0][:3] == "cpu" and row[0][3:]}


def loops() -> int:
    """Threads that a compiled loop may use."""
    import torch

    return max(_loops, torch.get_num_threads())


@contextmanager
def operations_on(threads: int) -> Iterator[None]:
    """Have torch's own operations use so many threads; compiled loops go on with theirs."""
    import torch

    global _loops
    before = torch.get_num_threads(), _loops
    _loops = loops()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        _loops = before[1]
