"""Does any backend differ where a certificate says that none can? And how much of a real network is certified?

    python benchmarks/certify.py --networks 500 --json runs/certify.json
    python benchmarks/certify.py --networks 100 --near
    python benchmarks/certify.py --networks 0 --checkpoint zoo/smnist.safetensors --samples 64

Each random network is certified and run on every backend in float64 and float32: *differ* counts runs with any other
spike, *broken* runs one of whose first differences (those with none in their causal past) was not on the list, and
*past list* runs in which an unconditional decision differs. Both must be 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from deploy.certification import Certificate, certify
from deploy.certification.past import dependent_from, independent
from simulators.conformance import networks
from simulators.run import simulate
from spikestrip.errors import Refused
from spikestrip.execution import Stepper
from spikestrip.program import Program
from spikestrip.trace import Trace

BACKENDS = ("numpy", "torch", "onnxruntime", "sinabs", "raster")
DTYPES = ("float64", "float32")


def random_program(rng: np.random.Generator, number: int) -> tuple[Program, np.ndarray]:
    """One of three neurons, two mixes and two norms, or a foreign recurrent graph, or one whose sums tie."""
    steps = int(rng.integers(1, 120))
    if number % 10 == 8:
        program = networks.recurrent(rng, hidden=int(rng.integers(2, 24)))
    elif number % 10 == 9:
        program = networks.dyadic(rng, neuron=("hard", "soft", "refractory")[number // 10 % 3])  # type: ignore[arg-type]
        return program, networks.grid(rng, program, 3)
    else:
        program = networks.network(
            rng,
            hidden=int(rng.integers(2, 33)),
            modes=int(rng.integers(1, 9)),
            blocks=int(rng.integers(1, 4)),
            neuron=("hard", "soft", "refractory")[number % 3],  # type: ignore[arg-type]
            mix=("linear", "glu")[number // 3 % 2],  # type: ignore[arg-type]
            norm=(None, "layer")[number // 6 % 2],  # type: ignore[arg-type]
        )
    return program, networks.gaussian(rng, program, int(rng.integers(1, 5)), steps)


def nearly_tied(rng: np.random.Generator, program: Program, x: np.ndarray) -> Program:
    """The same with each threshold at a potential that its neuron reaches, but for a few units of float32.

    Layer by layer: without spikes of its own a neuron's potentials in the first sample don't depend on its threshold;
    one that is larger than all before it becomes the threshold, so that the first spike there hangs on rounding.
    """
    for name in program.neurons:
        silent = _with_threshold(program, name, np.full(program.shapes[name], 1e30))
        stepper, reached = Stepper(silent, 1), []
        for t in range(x.shape[1]):
            stepper.step(x[:1, t].astype(np.float64))
            reached.append(stepper.state[name]["u"][0])
        potentials = np.stack(reached)
        records = (potentials == np.maximum.accumulate(potentials, axis=0)) & (potentials > 0.1)
        threshold = program.neurons[name].threshold.copy()  # type: ignore[attr-defined]
        for neuron in range(threshold.size):
            steps = np.flatnonzero(records[:, neuron])
            if steps.size:
                at = potentials[rng.choice(steps), neuron]
                threshold[neuron] = np.float32(at) * (1 + 2.0**-23 * rng.integers(-2, 3))
        program = _with_threshold(program, name, threshold)
    return program


def _with_threshold(program: Program, name: str, threshold: np.ndarray) -> Program:
    layers = (
        dataclasses.replace(layer, operation=dataclasses.replace(layer.operation, threshold=threshold))  # type: ignore[type-var,call-arg]
        if layer.name == name
        else layer
        for layer in program.layers
    )
    return dataclasses.replace(program, layers=tuple(layers))


def unconditional_differ(certificate: Certificate, trace: Trace) -> int:
    """Decisions with nothing listed in their past, nor listed themselves, that ``trace`` makes otherwise."""
    margins = certificate.found[str(trace.attrs["dtype"])]
    shapes = {name: one.shape for name, one in margins.items()}
    since = dependent_from(certificate.program, {name: one.keys for name, one in margins.items()}, shapes)
    wrong = 0
    for name, train in certificate.spikes.items():
        differ = np.flatnonzero(train != trace.spikes[name])
        differ = differ[independent(differ, since[name], shapes[name])]
        wrong += int(np.count_nonzero(~np.isin(differ, margins[name].keys)))
    return wrong


def random_networks(count: int, seed: int, lava_every: int, near: bool) -> list[dict[str, object]]:
    rows: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number in tqdm(range(count)):
        rng = np.random.default_rng([seed, number])
        program, x = random_program(rng, number)
        if near:
            program = nearly_tied(rng, program, x)
        certificate = certify(program, x, DTYPES)
        for backend in (*BACKENDS, *(("lava",) if lava_every and number % lava_every == 0 else ())):
            for dtype in DTYPES:
                try:
                    trace = simulate(program, x, backend, dtype)  # type: ignore[arg-type]
                except Refused:
                    continue
                row = rows[backend, dtype]
                row["runs"] += 1
                row["decisions"] += sum(train.size for train in trace.spikes.values())
                row["listed"] += certificate.listed(dtype)
                row["differ"] += any((train != trace.spikes[name]).any() for name, train in certificate.spikes.items())
                row["broken"] += bool(certificate.broken_by(trace))
                row["past list"] += bool(unconditional_differ(certificate, trace))
    return [{"backend": backend, "dtype": dtype, **row} for (backend, dtype), row in rows.items()]


def real_network(path: Path, samples: int) -> list[dict[str, object]]:
    from convert.strip import strip
    from train.checkpoint import load
    from train.held_out import held_out

    checkpoint = load(path)
    x = held_out(checkpoint, path, samples).inputs
    began = time.perf_counter()
    certificate = certify(strip(checkpoint.network, share=True), x)
    seconds = round(time.perf_counter() - began, 1)
    rows: list[dict[str, object]] = []
    for name, said in certificate.to_dict()["arithmetics"].items():
        for layer, one in said["layers"].items():
            keys = ("decisions", "spikes", "least_excess", "largest_bound", "listed", "unconditional")
            rows.append({"checkpoint": path.name, "arithmetic": name, "layer": layer} | {key: one[key] for key in keys})
        rows.append({"checkpoint": path.name, "arithmetic": name, "certified": said["certified"], "seconds": seconds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--near", action="store_true", help="Thresholds within a few float32 units of a potential.")
    parser.add_argument("--lava-every", type=int, default=0, help="Run every so-manieth network on Lava too.")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = random_networks(options.networks, options.seed, options.lava_every, options.near)
    real = real_network(options.checkpoint, options.samples) if options.checkpoint else []
    console = Console(width=160)
    for part in (rows, real):
        columns = list(dict.fromkeys(key for row in part for key in row))
        table = Table(*columns)
        for row in part:
            table.add_row(*(str(row.get(column, "")) for column in columns))
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(rows + real, indent=1) + "\n")


if __name__ == "__main__":
    main()
