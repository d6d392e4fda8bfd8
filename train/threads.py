"""How OpenMP's threads wait for each other, which can be chosen only before torch is loaded."""

from __future__ import annotations

import os
import sys


def patient() -> str | None:
    """Let OpenMP's threads sleep at a barrier if other work runs on this machine; returns what was chosen, and why.

    They spin by default. Where one of them has lost its core, the others spin for as long as the system leaves them:
    a step with two threads on two busy cores took 4 to 12 times as long as with one, and as long as with one when they
    slept. On an idle machine sleeping costs a quarter. Does nothing where the user has chosen (GOMP_SPINCOUNT,
    OMP_WAIT_POLICY), where torch is loaded already, and with one thread.
    """
    if "torch" in sys.modules or os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdecimal() else cores
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads < 2 or load + threads <= cores + 0.5:
        return None
    os.environ["GOMP_SPINCOUNT"] = "0"
    return f"load {load:.1f} on {cores} cores: {threads} threads sleep while they wait (GOMP_SPINCOUNT=0)"
