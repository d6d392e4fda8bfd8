"""How OpenMP's threads wait for each other, which can be chosen only before torch is loaded."""

from __future__ import annotations

import os
import sys

SPINS = 10_000  # some tens of microseconds: longer than a barrier's own wait, far shorter than a time slice


def bounded_spin() -> str | None:
    """Let OpenMP's threads spin for a short while at a barrier, then sleep; returns what was chosen.

    By default they spin on. Where one of them has lost its core to other work, the others spin for as long as the
    system leaves them; where they sleep at once, each barrier of an idle machine costs a wake. A bound is near the
    better of both (docs/how-to-train.md). Does nothing where the user has chosen (GOMP_SPINCOUNT, OMP_WAIT_POLICY),
    where torch is loaded already, and with one thread.
    """
    if "torch" in sys.modules or os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return None
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal():
        threads = int(wanted)
    else:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 2:
        return None
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    return f"{threads} threads spin briefly while they wait, then sleep (GOMP_SPINCOUNT={SPINS})"
