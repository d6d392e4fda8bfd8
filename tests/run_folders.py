"""A small run folder with every part, as a road leaves it, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import programs

from convert.formats.nir import reading, writing
from deploy.verify import verify
from simulators.backends.numpy import NumpyBackend
from simulators.run import simulate
from spikestrip import trace
from spikestrip.program import Program

BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")
WRONG = "n06_block1_spike"
FLIPPED = {(2, 10, 4), (2, 20, 4), (2, 30, 4)}
"""Sample, step and neuron of ``WRONG`` where the parallel reference says otherwise than the program."""
HOSTILE = "<script>alert(1)</script>"


def whole(folder: Path, program: Program | None = None, wrong: str = WRONG) -> Path:
    """4 samples, 50 steps; a parallel reference, said to be an SDN's, that is wrong about the spikes ``FLIPPED``."""
    folder.mkdir(parents=True, exist_ok=True)
    if program is None:
        program = programs.network(np.random.default_rng(0), inputs=1, hidden=10, classes=4)
    writing.write(program, folder / "model.nir")
    program = reading.read(folder / "model.nir")
    x = programs.gaussian(np.random.default_rng(1), program, 4, 50)
    iterative = simulate(program, x, NumpyBackend())
    parallel = simulate(program, x, NumpyBackend())
    parallel.attrs |= {"form": "parallel", "parallel": "sdn", "device": "cpu", "dtype": "float32"}
    train = parallel.spikes[wrong].copy()
    for place in FLIPPED:
        train[place] ^= 1
    parallel.spikes[wrong] = train
    parallel.events = {}
    trace.write(folder / "reference.parallel.h5", parallel)
    trace.write(folder / "reference.iterative.h5", iterative)
    labels = iterative.output.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 4  # 3 of 4 right
    np.save(folder / "labels.npy", labels)
    np.save(folder / "x.npy", x)
    verify(parallel, iterative, program).write(folder / "verdict.parallel.json")
    for name in BACKENDS:
        recorded = simulate(program, x, NumpyBackend(), attrs={"backend": name})
        trace.write(folder / f"trace.{name}.h5", recorded)
        verify(iterative, recorded, program).write(folder / f"verdict.{name}.json")
    metrics = {
        "task": HOSTILE, "accuracy": 0.875, "parallel_accuracy": 0.9, "spiking_rate": 0.2, "held_out": 1000,
        "training": [{"epoch": 1, "accuracy": 0.5, "spiking_rate": 0.1}, {"epoch": 2, "accuracy": 0.875}],
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name in ("ckpt.pt", "model.onnx"):
        (folder / name).write_bytes(b"")
    return folder
