"""How benchmarks measure: what is compared takes turns in one run, and the ratio of the medians is what counts.

A busy moment, a hot processor or a slow machine hits all that take turns alike; milliseconds are that machine's, then.
A benchmark is a script with a ``measure``; ``command`` makes its command line and writes the JSON that page.py reads.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import threadpoolctl

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "numpy", "numba", "torch", "onnxruntime", "sinabs", "lava-nc", "snntorch", "spikingjelly", "norse", "nir", "onnx",
    "h5py",
)  # fmt: skip
SETTINGS = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMBA_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
Clock = Callable[[], float]
Timer = Callable[[], float]
Row = dict[str, Any]
Tables = dict[str, list[Row]]


def used() -> float:
    """Seconds of processor that this process has used, and its children that have ended: other programs don't count."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timer(call: Callable[[], object], clock: Clock = used, spell: float = 0.0) -> Timer:
    """Milliseconds of ``call``: the median of as many as ``spell`` seconds hold, at least one."""

    def timed() -> float:
        times: list[float] = []
        while sum(times) <= 1000 * spell:
            started = clock()
            call()
            times.append(1000 * (clock() - started))
        return statistics.median(times)

    return timed


def take_turns(timers: dict[str, Timer], turns: int) -> dict[str, list[float]]:
    """Milliseconds of each in each turn, after one that warms up and doesn't count."""
    times = [{name: timed() for name, timed in timers.items()} for _ in range(1 + turns)]
    return {name: [turn[name] for turn in times[1:]] for name in timers}


def compared(times: dict[str, list[float]], base: str, key: str, **fixed: Any) -> list[Row]:
    """A row for each: the ``fixed`` columns, its name as ``key``, median ``ms``, and how many times faster than
    ``base`` it was: the ratio of their medians, and the least and the largest ratio of a turn."""
    rows = []
    for name, own in times.items():
        pairs = [theirs / mine for theirs, mine in zip(times[base], own, strict=True)]
        rows.append({
            key: name, **fixed, "ms": significant(statistics.median(own)),
            "times": significant(statistics.median(times[base]) / statistics.median(own)),
            "times_least": significant(min(pairs)), "times_most": significant(max(pairs)),
        })  # fmt: skip
    return rows


def significant(number: float) -> float:
    """Four digits: no time is known better."""
    return float(f"{number:.4g}")


class Child:
    """A Timer in a process of its own: with settings that a library reads when it is loaded, or another tree's code.

    ``code``: Python that leaves a function ``call``. Processes wait while it isn't their turn.
    """

    LOOP = """
import sys, time
for _ in sys.stdin:
    began = time.{clock}()
    call()
    print(1000 * (time.{clock}() - began), flush=True)
"""

    def __init__(self, code: str, clock: str, environment: dict[str, str] | None = None, tree: Path = ROOT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + self.LOOP.format(clock=clock)], cwd=tree, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {}), "PYTHONPATH": str(tree)},
        )  # fmt: skip

    def __call__(self) -> float:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a child without pipes")
        try:
            print(file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            raise click.ClickException(f"a measured process ended with {self.process.wait()}") from error

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        self.process.communicate()


def installed(makers: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], list[Row]]:
    """What the ``makers`` make, and a row for each whose library is absent."""
    made, absent = {}, []
    for name, make in makers.items():
        try:
            made[name] = make()
        except ImportError as error:
            absent.append({"name": name, "reason": str(error)})
    return made, absent


def machine() -> dict[str, Any]:
    """Where a run took place, by which versions and settings."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
        "thread_pools": [
            {key: pool[key] for key in ("user_api", "internal_api", "version", "num_threads")}
            for pool in threadpoolctl.threadpool_info()
        ],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Listed(click.ParamType):
    """Values of one type, with commas, as a tuple."""

    name = "list"

    def __init__(self, each: click.ParamType) -> None:
        self.each = each

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(self.each.convert(part, param, ctx) for part in parts)


def command(
    measure: Callable[..., Tables],
    *options: Callable[[Any], Any],
    plot: Callable[[list[Row], Path], None] | None = None,
) -> click.Command:
    """The command of a benchmark. ``measure(smoke, ...)`` gives its tables; with ``smoke`` at the smallest sizes.

    ``options``: click's, whose values ``measure`` takes. ``plot(rows, path)`` draws the table "rows" beside the JSON.
    """
    doc = importlib.import_module(measure.__module__).__doc__

    @click.command(help=doc)
    @click.option("--json", "path", type=click.Path(path_type=Path), required=True)
    @click.option("--smoke", is_flag=True, help="The smallest sizes: does it run? Its times say nothing.")
    def main(path: Path, smoke: bool, **chosen: Any) -> None:
        load, started = os.getloadavg()[0], time.perf_counter()
        found = measure(smoke, **chosen)
        report = {
            "machine": machine() | {"load_before": load, "load_after": os.getloadavg()[0]},
            "seconds": round(time.perf_counter() - started, 1),
            "smoke": smoke,
            **found,
        }
        path.write_text(json.dumps(report, indent=1) + "\n")
        if plot is not None:
            plot(found["rows"], path.with_suffix(".png"))
        for name, rows in found.items():
            click.echo(name)
            for row in rows:
                click.echo("  " + "  ".join(f"{key} {value}" for key, value in row.items()))

    for option in reversed(options):
        main = option(main)
    return main
