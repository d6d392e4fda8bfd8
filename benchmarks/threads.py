"""Does a second thread pay in training? On the machine as it is, and beside two processes that never rest.

python benchmarks/threads.py --json threads.json

A training step at the sMNIST shape by ``scan``, processes that take turns, wall-clock time. *Bounded* is what
``spikestrip train`` chooses for two threads (train/threads.py).
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import measuring
import steps
from measuring import Child, Row, Tables
from training_step import child_code

SIDES = {
    "one thread": ("1", ""),
    "two threads, bounded": ("2", "from train.threads import bounded_spin\nbounded_spin()\n"),
    "two threads, OpenMP's default": ("2", ""),
}
BUSY = "while True: pass"


def compare(busy: int, options: dict[str, int], batch: int, length: int, turns: int) -> list[Row]:
    with ExitStack() as stack:
        timers = {
            name: stack.enter_context(
                Child(before + child_code(options, batch, length), "perf_counter", {"OMP_NUM_THREADS": threads})
            )
            for name, (threads, before) in SIDES.items()
        }
        for timer in timers.values():
            timer()  # loaded and compiled before the others begin
        for _ in range(busy):
            other = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(other.wait)
            stack.callback(other.kill)
        time.sleep(0.2)
        return measuring.compared(
            measuring.take_turns(timers, turns), "one thread", "step", busy=busy, **options, batch=batch, L=length
        )


def measure(smoke: bool) -> Tables:
    size: tuple[Any, ...] = (steps.TINY, 2, 8, 1) if smoke else (steps.SMNIST, steps.BATCH, steps.LENGTH, 9)
    return {"threads": [row for busy in (0, 2) for row in compare(busy, *size)]}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
