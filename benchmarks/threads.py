"""Does a second thread pay in training? On the machine as it is, and beside one or two processes that never rest.

python benchmarks/threads.py --json threads.json

A training step at the sMNIST shape by ``scan`` and by ``fused``, processes that take turns, wall-clock time. *As train
has them* is what ``spikestrip train`` chooses for two threads on a machine as it finds it (train/threads.py). And whole
epochs by ``spikestrip train``: with one thread, with two, and by two processes of one thread each that share every
batch (gloo).
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import measuring
import steps
from measuring import ROOT, Child, Row, Tables
from training_step import child_code

CHOICE = """
from train.threads import choose, operations_on
chosen = choose()
{code}
held = operations_on(1 if network.compiled() else chosen.operations)
held.__enter__()
"""
SIDES = {
    "one thread": ("1", "{code}"),
    "two threads, as train has them": ("2", CHOICE),
    "two threads, OpenMP's default": ("2", "{code}"),
}
BUSY = "while True: pass"


def compare(form: str, busy: int, options: dict[str, int], batch: int, length: int, turns: int) -> list[Row]:
    chosen = options | {"parallel": form}
    with ExitStack() as stack:
        for _ in range(busy):
            other = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(other.wait)
            stack.callback(other.kill)
        code, timers = child_code(chosen, batch, length), {}
        for name, (threads, whole) in SIDES.items():
            environment = {"OMP_NUM_THREADS": threads}
            timer = stack.enter_context(Child(whole.format(code=code), "perf_counter", environment))
            timer()  # loaded and compiled, and waiting, before the next one looks how busy the machine is
            timers[name] = timer
        return measuring.compared(
            measuring.take_turns(timers, turns), "one thread", "step", busy=busy, **chosen, batch=batch, L=length
        )


def epoch(threads: int, processes: int, options: dict[str, int], samples: int) -> float:
    """Milliseconds of the second of two epochs on digits; the first compiles."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    given = {"task": "mnist5k", "train_samples": samples, "epochs": 2, **options}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *launcher, "train/run.py", *words, "--run-dir", f"{folder}/run"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"a training ended with {done.returncode}: {done.stderr}")
        with (Path(folder) / "run" / "epochs.csv").open() as file:
            return 1000 * float(list(csv.DictReader(file))[1]["seconds"])


def epochs(options: dict[str, int], samples: int, turns: int) -> list[Row]:
    sides = {"one thread": (1, 1), "two threads": (2, 1), "two processes": (1, 2)}
    timers = {name: partial(epoch, *how, options, samples) for name, how in sides.items()}
    times = measuring.take_turns(timers, turns)
    return measuring.compared(times, "one thread", "epoch", **options, samples=samples)


def measure(smoke: bool) -> Tables:
    size: tuple[Any, ...] = (steps.TINY, 2, 8, 1) if smoke else (steps.SMNIST, steps.BATCH, steps.LENGTH, 11)
    return {
        "threads": [row for form in ("scan", "fused") for busy in (0, 1, 2) for row in compare(form, busy, *size)],
        "epochs": epochs(size[0], 100 if smoke else 1000, 1 if smoke else 2),
    }


main = measuring.command(measure)
if __name__ == "__main__":
    main()
