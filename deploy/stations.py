"""The stations after training, for one checkpoint: strip, convert, reference, every backend, verdicts, report."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from tqdm import tqdm

from deploy.verify import Verdict, verify
from simulators import backends
from simulators.run import simulate_parts
from spikestrip import trace
from spikestrip.errors import BadInput, SpikestripError
from spikestrip.files import atomic, save_array, writable
from spikestrip.operations import COUNTERS
from spikestrip.trace import Trace

if TYPE_CHECKING:
    from spikestrip.program import Program
    from train.checkpoint import Checkpoint
    from train.networks import Network

BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")
PARALLEL = "parallel"
OWN = (
    "reference.*.h5",
    "trace.*.h5",
    "verdict.*.json",
    "verdict.*.differences.h5",
    "labels.npy",
    "road.json",
    "report.html",
)
"""What a road leaves in its folder, and the next one there takes away first."""
KEPT = ("ckpt.pt", "metrics.json", "x.npy", "model.nir", "model.onnx")
"""What it leaves there too, and the next one writes over."""

console = Console(highlight=False)


def prepare(out: Path, reads: Iterable[Path | None] = ()) -> None:
    """Make the folder ``out`` of a run. Raises BadInput where the run would replace a file of ``reads`` in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(out, f"can't be a run folder ({error.strerror})") from error
    given = list(reads)
    for pattern in (*OWN, *KEPT):
        for old in out.glob(pattern):
            writable(old, given)


def road(
    checkpoint: Checkpoint, x: np.ndarray, labels: np.ndarray | None, out: Path, names: tuple[str, ...] | None = None
) -> None:
    """Leave in the folder ``out`` the files, traces, verdicts, road.json and report of ``checkpoint``.

    x: (B, T, C), or token ids (B, T, 1); labels: (B,), or (B, T) for a network that answers every step.
    names: the backends; None takes BACKENDS.
    The network as trained runs in float32, its stripped program in float64, and so do the backends, from the NIR file.
    Raises SpikestripError, when all is written, if a verdict is fail.
    """
    from deploy.report import render, summary_table

    for pattern in OWN:
        for old in out.glob(pattern):
            old.unlink()
    save_array(out / "x.npy", x)
    if labels is not None:
        save_array(out / "labels.npy", labels)
    program = _strip(checkpoint.network, out)
    runs = _run_and_verify(checkpoint.network, program, x, labels, out, names or BACKENDS)
    summary = {
        "task": checkpoint.task,
        "config": dataclasses.asdict(checkpoint.network.config),
        "trained": {name: checkpoint.metrics.get(name) for name in ("accuracy", "spiking_rate")},
        "program_sha256": program.sha256,
        "input_sha256": trace.input_sha256(x),
        "samples": x.shape[0],
        "steps": x.shape[1],
        "bytes": {name: (out / name).stat().st_size for name in ("model.nir", "model.onnx")},
        "runs": runs,
    }
    with atomic(out / "road.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    render(out, out / "report.html")
    console.print(summary_table(out))
    for name, row in runs.items():
        if "refused" in row:
            console.print(f"{name}: refused: {row['by']}: {row['refused']}")
    console.print(f"report: {out / 'report.html'}")
    failed = [name for name, row in runs.items() if row.get("verdict") == "fail"]
    if failed:
        raise SpikestripError(f"verification failed: {', '.join(failed)}")


def _strip(network: Network, out: Path) -> Program:
    from convert.formats import onnx as onnx_writer
    from convert.formats.nir import reading as nir_reader
    from convert.formats.nir import writing as nir_writer
    from convert.strip import strip

    console.rule("strip to iterative neurons")
    program = strip(network)
    nir_writer.write(program, out / "model.nir")
    onnx_writer.write(onnx_writer.export(program), out / "model.onnx")
    console.print(f"{len(program.layers)} layers -> {out / 'model.nir'}, {out / 'model.onnx'}")
    return nir_reader.read(out / "model.nir")


def _run_and_verify(
    network: Network, program: Program, x: np.ndarray, labels: np.ndarray | None, out: Path, names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """A row for each run, by name; no more than one trace is held beside the reference."""
    import torch

    from simulators.reference import reference_parts

    device = "cuda" if torch.cuda.is_available() else "cpu"
    console.rule(f"reference ({device.upper()}), and every backend, verified")
    iterative = _kept(out / "reference.iterative.h5", reference_parts(network, x, "iterative", "float64", device), x)

    def judge(name: str, ran: Iterable[Trace]) -> dict[str, Any]:
        recorded = _kept(out / f"{'reference' if name == PARALLEL else 'trace'}.{name}.h5", ran, x)
        verdict = verify(
            *((recorded, iterative) if name == PARALLEL else (iterative, recorded)), program, network=network
        )
        verdict.write(out / f"verdict.{name}.json")
        row = _row(recorded, labels, verdict)
        console.print(f"{name}: {_sentence(row)}")
        return row

    runs = {"iterative": _row(iterative, labels)}
    runs[PARALLEL] = judge(PARALLEL, reference_parts(network, x, "parallel", "float32", device))
    for name in names:
        try:
            backend = backends.load(name)
            backends.check(backend, program, "float64", "cpu")
        except BadInput as refusal:  # it can't hold a layer, or what it needs isn't installed
            runs[name] = {"refused": refusal.reason, "by": refusal.where}
            console.print(f"{name}: refused")
            continue
        with tqdm(total=x.shape[0] * x.shape[1], desc=name, unit="step", unit_scale=True, disable=None) as bar:
            runs[name] = judge(name, simulate_parts(program, x, backend, "float64", "cpu", bar.update))
    return runs


def _kept(path: Path, parts: Iterable[Trace], x: np.ndarray) -> Trace:
    """A run, written part by part, and read from its file."""
    trace.write_parts(path, parts, len(x))
    return trace.read(path)


def _row(recorded: Trace, labels: np.ndarray | None, verdict: Verdict | None = None) -> dict[str, Any]:
    """What road.json says of a run; ``events`` are sums over layers, samples and steps."""
    counted = recorded.counted()
    row: dict[str, Any] = {
        "verdict": "reference" if verdict is None else "pass" if verdict.passed else "fail",
        "differ": 0 if verdict is None else verdict.differ,
        "causes": {} if verdict is None else verdict.causes,
        "neuron_steps": sum(math.prod(train.shape) for train in recorded.spikes.values()),
        "events": {counter: sum(table[counter] for table in counted.values()) for counter in COUNTERS},
        "seconds": float(recorded.attrs["seconds"]),
        **{name: recorded.attrs[name] for name in ("device", "dtype", "parallel") if name in recorded.attrs},
    }
    if labels is not None:
        right = sum(
            int(np.count_nonzero(recorded.output[samples].argmax(axis=-1) == labels[samples]))
            for samples in recorded.parts()
        )
        row["accuracy"] = right / labels.size
    return row


def _sentence(row: dict[str, Any]) -> str:
    steps = row["neuron_steps"]
    causes = "".join(f", {cause} {spikes:,} ({spikes / steps:.2%})" for cause, spikes in row["causes"].items())
    return f"{row['differ']:,} of {steps:,} neuron-steps differ{causes}; {row['verdict']}, ran {row['seconds']:.1f} s"
