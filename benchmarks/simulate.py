"""What a step costs on each simulator: every installed backend, one network, in one process.

python benchmarks/simulate.py --json simulate.json [--backends numpy,torch] [--batches 1,64] [--steps 784]

The network is random: two blocks of S4D, LIF and a linear layer, H = 64, N = 32, on N(0, 1) input of one channel.
Backends take turns, so that a busy moment hits all of them; ``ms`` is the median of a whole run as a user pays for it
(with what the backend builds), and ``times_numpy`` how many times faster than numpy it was: the median of the turns'
ratios. A first run outside the count warms up. ``differing_spikes`` counts those that are not numpy's.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from simulators import backends
from simulators.backends import Backend, Dtype, Recording
from simulators.conformance.networks import gaussian, network
from spikestrip.errors import BadInput, SpikestripError
from spikestrip.program import Program

HIDDEN, MODES = 64, 32
ENGINES = ("numpy", "torch", "onnxruntime", "lava-nc", "sinabs")


def run(backend: Backend, program: Program, x: np.ndarray, dtype: Dtype) -> tuple[float, Recording]:
    """Milliseconds of one run, and what it recorded."""
    started = time.perf_counter()
    recording = backend.run(program, x, dtype, "cpu", lambda steps: None)
    return 1000 * (time.perf_counter() - started), recording


def compare(
    chosen: dict[str, Backend], program: Program, x: np.ndarray, dtype: Dtype, turns: int
) -> list[dict[str, Any]]:
    """A row for each backend at one size, timed in turns."""
    size = {"batch": x.shape[0], "steps": x.shape[1], "dtype": dtype}
    rows: list[dict[str, Any]] = []
    recorded: dict[str, Recording] = {}
    for name, backend in chosen.items():
        try:
            backends.check(backend, program, dtype, "cpu")
            recorded[name] = run(backend, program, x, dtype)[1]
        except SpikestripError as error:
            rows.append({"backend": name, **size, "failed": str(error)})
    times = [{name: run(chosen[name], program, x, dtype)[0] for name in recorded} for _ in range(turns)]
    for name, recording in recorded.items():
        ms = statistics.median(turn[name] for turn in times)
        best = min(turn[name] for turn in times)
        row = {"ms": round(ms, 3), "best_ms": round(best, 3), "us_per_step": round(1000 * ms / x.shape[1], 3)}
        if "numpy" in recorded:
            row["times_numpy"] = round(statistics.median(turn["numpy"] / turn[name] for turn in times), 3)
            oracle = recorded["numpy"].spikes
            row["differing_spikes"] = sum(
                int(np.count_nonzero(train != oracle[layer])) for layer, train in recording.spikes.items()
            )
        rows.append({"backend": name, **size, **row})
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Microseconds a step for each backend and batch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in rows if "ms" in row]
    names = list(dict.fromkeys(row["backend"] for row in timed))
    batches = sorted({row["batch"] for row in timed})
    figure, axes = pyplot.subplots(figsize=(6, 1.5 + 0.5 * len(names)))
    for i, batch in enumerate(batches):
        micro = {row["backend"]: row["us_per_step"] for row in timed if row["batch"] == batch}
        places = [names.index(name) + 0.8 * i / len(batches) for name in micro]
        axes.barh(places, list(micro.values()), height=0.8 / len(batches), label=f"batch {batch}")
    axes.set(xscale="log", xlabel="microseconds a step", yticks=range(len(names)), yticklabels=names)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def versions() -> dict[str, str]:
    """The engines' versions, those that are installed."""
    found = {}
    for engine in ENGINES:
        try:
            found[engine] = version(engine)
        except PackageNotFoundError:
            continue
    return found


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--backends", "wanted", default="numpy,torch,onnxruntime,lava,sinabs")
@click.option("--batches", default="1,64")
@click.option("--steps", default=784)
@click.option("--dtype", type=click.Choice(get_args(Dtype)), default="float64")
@click.option("--turns", default=3)
def main(path: Path, wanted: str, batches: str, steps: int, dtype: Dtype, turns: int) -> None:
    chosen: dict[str, Backend] = {}
    absent: dict[str, str] = {}
    for name in wanted.split(","):
        try:
            chosen[name] = backends.load(name)
        except BadInput as error:
            absent[name] = error.reason
            click.echo(f"{name}: absent ({error.reason})")
    rng = np.random.default_rng(0)
    program = network(rng, inputs=1, hidden=HIDDEN, modes=MODES, classes=10)
    machine: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **versions(),
    }
    rows: list[dict[str, Any]] = []
    for batch in (int(part) for part in batches.split(",")):
        for row in compare(chosen, program, gaussian(rng, program, batch, steps), dtype, turns):
            rows.append(row)
            click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    machine["load_after"] = os.getloadavg()[0]
    path.write_text(json.dumps({"machine": machine, "absent": absent, "rows": rows}, indent=1) + "\n")
    plot(rows, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
