"""A network's Loihi 2 integers on four machines: every spike, every answer, every last state, and the time of each.

python benchmarks/loihi2_backends.py zoo/smnist.safetensors [--map microcode] [--samples 8]

numpy and torch step the program; ONNX Runtime runs the exported file in a plain session, all steps in one call; Lava
runs lava-nc's own processes (stock) or processes of ours (microcode). Exit code 1 where anything differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_compat.torch as torch_xp
import click
import numpy as np
import onnxruntime
import torch

from convert.formats import onnx as writer
from convert.load import load
from convert.lowering.loihi2 import Words, loihi2
from convert.lowering.loihi2_microcode import microcode
from simulators import backends
from spikestrip.command import main
from spikestrip.execution import Stepper, one_thread
from spikestrip.program import Program
from train import tasks
from train.checkpoint import load as load_checkpoint

CALIBRATED = 32  # first training sequences, on which ranges are measured
Seen = dict[str, np.ndarray]
"""Spikes by layer, ``output``, and last states by layer.state."""


@click.command(context_settings={"show_default": True})
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--map", "mapping", type=click.Choice(["stock", "microcode"]), default="stock")
@click.option("--samples", type=click.IntRange(1), default=8, help="Of the test split, from its first.")
@click.option("--only", multiple=True, help="Machines beside numpy, several times for several. Default: all.")
def command(network: Path, mapping: str, samples: int, only: tuple[str, ...]) -> int:
    """Run the integers of NETWORK on each machine and count what differs from numpy's."""
    stored = load_checkpoint(network)
    data = tasks.load(stored.task["name"])
    calibration, x = data.train.inputs[:CALIBRATED], data.test.inputs[:samples].astype(np.float64)
    program = load(network)
    if mapping == "stock":
        program = loihi2(program, calibration, Words(2, 2, 2), stored.scales).program
    else:
        program = microcode(program, calibration).program
    right, seconds = _timed(_numpy, program, x)
    states = sum(array.size for name, array in right.items() if "." in name)
    click.echo(f"{network.name}, --map {mapping}: program {program.sha256[:12]}, {x.shape[0]} samples of {x.shape[1]}")
    click.echo(f"numpy: {states:,} last states, {seconds:.1f} s")
    wrong = 0
    for name, machine in MACHINES.items():
        if only and name not in only:
            continue
        seen, seconds = _timed(machine, program, x)
        assert set(seen) == set(right), name
        differ = {key: int(np.count_nonzero(seen[key] != array)) for key, array in right.items()}
        wrong += sum(differ.values())
        spikes = {key: f"{differ[key]} of {right[key].size:,}" for key in (layer.name for layer in program.spiking)}
        last = sum(number for key, number in differ.items() if "." in key)
        click.echo(
            f"{name}: spikes {', '.join(f'{key} {said}' for key, said in spikes.items())}; "
            f"outputs {differ['output']} of {right['output'].size:,}; last states {last} of {states:,}; {seconds:.1f} s"
        )
    return int(wrong > 0)


def _timed(machine: Callable[[Program, np.ndarray], Seen], program: Program, x: np.ndarray) -> tuple[Seen, float]:
    start = time.perf_counter()
    seen = machine(program, x)
    return seen, time.perf_counter() - start


def _numpy(program: Program, x: np.ndarray) -> Seen:
    return _stepped(program, x, np, np.asarray)


def _torch(program: Program, x: np.ndarray) -> Seen:
    with torch.inference_mode():
        return _stepped(program, x, torch_xp, lambda array: torch.as_tensor(array, dtype=torch.float64))


def _stepped(program: Program, x: np.ndarray, xp: Any, convert: Callable[[np.ndarray], Any]) -> Seen:
    stepper = Stepper(program, len(x), xp, lambda array: convert(array.astype(np.float64)))
    trains: dict[str, list[np.ndarray]] = {layer.name: [] for layer in program.spiking} | {program.output: []}
    with one_thread():
        for t in range(x.shape[1]):
            streams = stepper.step(convert(x[:, t]))
            for name, train in trains.items():
                train.append(np.asarray(streams[name]))
    seen = {name: np.stack(train, axis=1) for name, train in trains.items()}
    seen["output"] = seen.pop(program.output)
    last = {f"{layer}.{name}": np.asarray(a) for layer, state in stepper.state.items() for name, a in state.items()}
    return seen | last


def _onnxruntime(program: Program, x: np.ndarray) -> Seen:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = b"".join(writer.pieces(writer.export(program, "sequence", "float64")))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    state = {name: np.zeros((len(x), *shape)) for name, shape in writer.states(program).items()}
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"x": np.ascontiguousarray(x.swapaxes(0, 1))} | state), strict=True))
    seen = {layer.name: found[f"{layer.name}.spikes"].swapaxes(0, 1) for layer in program.spiking}
    return seen | {"output": found["y"].swapaxes(0, 1)} | {name: found[f"{name}.out"] for name in state}


def _lava(program: Program, x: np.ndarray) -> Seen:
    run = backends.load("lava").run(program, x, "float64", "cpu", lambda steps: None)
    click.echo(f"lava: {run.attrs}")
    last = {f"{layer}.{name}": array for layer, state in run.states.items() for name, array in state.items()}
    return run.spikes | {"output": run.output} | last


MACHINES = {"torch": _torch, "onnxruntime": _onnxruntime, "lava": _lava}

if __name__ == "__main__":
    main(command)
