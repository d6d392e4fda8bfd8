"""How cost grows: with the length T, the width H, the batch B and the number of blocks, each alone.

python benchmarks/growth.py --json growth.json

Training steps by ``scan`` and ``fused``, and simulating and verifying an untrained network. Sizes go up to the first
at which a run takes LIMIT; all sizes of one axis take turns. The exponent is the slope of log time over log size in the
upper half of the sizes: 1 is linear, and at small sizes a fixed cost hides it. Memory: what one training step adds to
the process at its peak (Linux).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import steps
from measuring import Row, Tables

from convert.strip import strip
from deploy.verification import verify
from simulators.run import simulate
from spikestrip.trace import Trace
from train.neurons import _buffers

BASE = {"T": 1024, "H": 64, "B": 1, "blocks": 2}
AXES = {
    "T": [1 << k for k in range(10, 17)],
    "H": [16, 32, 64, 128, 256, 512],
    "B": [1, 2, 4, 8, 16, 32, 64],
    "blocks": [1, 2, 4, 8, 16],
}
SMALL = {"T": 16, "H": 4, "B": 1, "blocks": 1}
SMALL_AXES = {"T": [8, 16, 32, 64], "B": [1, 2, 4, 8]}
MODES = 16
LIMIT = 4000  # milliseconds


def calls(size: dict[str, int]) -> dict[str, Callable[[], object]]:
    options = {"d_model": size["H"], "d_state": MODES, "layers": size["blocks"]}
    x, labels = steps.images(size["B"], size["T"])
    program = strip(steps.network(**options))
    traces: list[Trace] = []

    def run(name: str) -> None:
        traces[:] = [simulate(program, x.numpy(), name)]

    def verified() -> None:
        verify(traces[0], traces[0], program)

    return {
        "training step, scan": steps.training_step(steps.network(**options), x, labels),
        "training step, fused": steps.training_step(steps.network(parallel="fused", **options), x, labels),
        "simulate, numpy": partial(run, "numpy"),
        "simulate, raster": partial(run, "raster"),
        "verify": verified,
    }


def peak_memory(call: Callable[[], object]) -> int | None:
    """Bytes that it adds to the process's memory; None where the system can't say."""
    try:
        gc.collect()
        _buffers.forget()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here

        def field(name: str) -> int:
            text = Path("/proc/self/status").read_text()
            return 1024 * int(text.split(name + ":")[1].split()[0])

        before = field("VmRSS")
        call()
        return max(0, field("VmHWM") - before)
    except (OSError, AttributeError):
        return None


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """Of the power law in the upper half of ``sizes``, at least three; None where there are fewer."""
    if len(sizes) < 3:
        return None
    half = min(len(sizes) // 2, len(sizes) - 3)
    return round(float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0]), 2)


def grow(axis: str, sizes: list[int], base: dict[str, int], turns: int) -> tuple[list[Row], list[Row]]:
    by_size: dict[int, dict[str, Callable[[], object]]] = {}
    points: list[Row] = []
    fits: list[Row] = []
    for what in calls(base):
        timers: dict[str, measuring.Timer] = {}
        for size in sizes:
            by_size.setdefault(size, calls(base | {axis: size}))
            if what == "verify":
                by_size[size]["simulate, raster"]()
            timers[str(size)] = measuring.timer(by_size[size][what])
            if min(timers[str(size)]() for _ in range(2 if size == sizes[0] else 1)) > LIMIT:  # the first may compile
                break
        rounds = [{size: timed() for size, timed in timers.items()} for _ in range(turns)]  # all are warm
        times = {size: [each[size] for each in rounds] for size in timers}
        rows = measuring.compared(times, str(sizes[0]), "size", what=what, axis=axis)
        for row, size in zip(rows, sizes, strict=False):
            memory = peak_memory(by_size[size][what]) if what.startswith("training") else None
            points.append({"what": what, "axis": axis, "size": size, "ms": row["ms"], "peak_bytes": memory})
        own = points[-len(rows) :]
        measured = [row["size"] for row in own]
        fit: dict[str, Any] = {"what": what, "axis": axis, "from": measured[0], "to": measured[-1]}
        fit["exponent"] = exponent(measured, [row["ms"] for row in own])
        if all(row["peak_bytes"] for row in own):
            fit["memory_exponent"] = exponent(measured, [row["peak_bytes"] for row in own])
        fits.append(fit)
    return points, fits


def measure(smoke: bool) -> Tables:
    tables: Tables = {"points": [], "exponents": []}
    for axis, sizes in (SMALL_AXES if smoke else AXES).items():
        points, fits = grow(axis, sizes, SMALL if smoke else BASE, 1 if smoke else 3)
        tables["points"] += points
        tables["exponents"] += fits
    return tables


main = measuring.command(measure)
if __name__ == "__main__":
    main()
