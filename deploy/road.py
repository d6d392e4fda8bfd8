"""Every station after training: ``python deploy/road.py ckpt.pt --samples 16 --out RUN_DIR``."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tqdm import tqdm

from deploy import run_folder
from deploy.run_folder import ITERATIVE, PARALLEL
from deploy.verification.remembered import Remembered
from deploy.verify import Verdict, verify
from simulators import backends
from simulators.run import simulate_parts
from spikestrip import inputs, trace
from spikestrip.command import MOST, main, terminal
from spikestrip.errors import BadInput, SpikestripError
from spikestrip.files import alone, read_array, save_array, write_json, write_text
from spikestrip.operations import COUNTERS
from spikestrip.trace import Trace

if TYPE_CHECKING:
    from spikestrip.program import Program
    from train.building import AnyConfig, AnyNetwork
    from train.checkpoint import Checkpoint

console = terminal(highlight=False)


@click.command("road")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), help="x.npy: (B, T, C), or ids.")
@click.option("--labels", "answers", type=click.Path(path_type=Path), help="y.npy: (B,), or (B, T) for sequences.")
@click.option("--samples", type=click.IntRange(1, MOST), help="Instead: so many held-out sequences of its task.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder; a former run's is replaced.")
@click.option(
    "--backends", "wanted", help="Simulators by name, with commas. Default: numpy, torch, onnxruntime, lava, sinabs."
)
def command(
    checkpoint: Path, source: Path | None, answers: Path | None, samples: int | None, data_dir: Path | None,
    out: Path, wanted: str | None,
) -> None:  # fmt: skip
    """Strip CHECKPOINT, convert it, run it on every backend and verify each, ending in report.html and road.json.

    A backend that can't hold the network is refused by name, and no failure. Exit code 1: a verdict is fail.
    """
    from convert.strip import strip
    from train.checkpoint import files, load, save
    from train.held_out import held_out

    names = tuple(dict.fromkeys(wanted.split(","))) if wanted else None
    for name in names or ():
        if name not in backends.names():
            raise BadInput("--backends", f"{name!r} is not one of {', '.join(backends.names())}")
    if (source is None) == (samples is None) or (answers and samples):
        raise BadInput("--input", "give either --input, with --labels if there are any, or --samples")
    loaded = load(checkpoint)
    config = loaded.network.config
    labels: np.ndarray | None
    if source is not None:
        x = inputs.read(source, strip(loaded.network).input_shape)
        labels = _read_labels(answers, x, config) if answers else None
    else:
        test = held_out(loaded, checkpoint, samples, data_dir)
        x, labels = np.ascontiguousarray(test.inputs), test.labels
    run_folder.prepare(out, (*files(checkpoint), source, answers))
    with alone(out):
        save(out / run_folder.CHECKPOINT, loaded)
        write_json(out / run_folder.METRICS, as_trained(loaded))
        road(loaded, x, labels, out, names)


def road(
    checkpoint: Checkpoint, x: np.ndarray, labels: np.ndarray | None, out: Path, names: tuple[str, ...] | None = None
) -> None:
    """Leave in the folder ``out`` the files, traces, verdicts, road.json and report of ``checkpoint``.

    x: (B, T, C), or token ids (B, T, 1); labels: (B,), or (B, T) for a network that answers every step.
    names: the backends; None takes run_folder.BACKENDS.
    The network as trained runs in float32, its stripped program in float64, and so do the backends, from the NIR file.
    Raises SpikestripError, when all is written, if a verdict is fail.
    """
    from deploy.report import RunFolder, summary_table, write

    run_folder.clear(out)
    save_array(out / run_folder.INPUT, x)
    if labels is not None:
        save_array(out / run_folder.LABELS, labels)
    program = _strip(checkpoint.network, out)
    runs = _run_and_verify(checkpoint.network, program, x, labels, out, names or run_folder.BACKENDS)
    summary = {
        "task": checkpoint.task,
        "config": dataclasses.asdict(checkpoint.network.config),
        "trained": {name: checkpoint.metrics.get(name) for name in ("accuracy", "spiking_rate")},
        "program_sha256": program.sha256,
        "input_sha256": trace.input_sha256(x),
        "samples": x.shape[0],
        "steps": x.shape[1],
        "bytes": {name: (out / name).stat().st_size for name in (run_folder.NIR, run_folder.ONNX)},
        "runs": runs,
    }
    write_text(out / run_folder.ROAD, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    folder = RunFolder(out)
    write([folder], out / run_folder.REPORT)
    console.print(summary_table(folder))
    for name, row in runs.items():
        if "refused" in row:
            console.print(f"{name}: refused: {row['by']}: {row['refused']}")
    console.print(f"report: {out / run_folder.REPORT}")
    failed = [name for name, row in runs.items() if row.get("verdict") == "fail"]
    if failed:
        raise SpikestripError(f"verification failed: {', '.join(failed)}")


def _strip(network: AnyNetwork, out: Path) -> Program:
    from convert.formats import onnx as onnx_writer
    from convert.formats.nir import reading as nir_reader
    from convert.formats.nir import writing as nir_writer
    from convert.strip import strip

    console.rule("strip to iterative neurons")
    program = strip(network)
    nir_file, onnx_file = out / run_folder.NIR, out / run_folder.ONNX
    nir_writer.write(program, nir_file)
    onnx_writer.write(onnx_writer.export(program), onnx_file)
    console.print(f"{len(program.layers)} layers -> {nir_file}, {onnx_file}")
    return nir_reader.read(nir_file)


def _run_and_verify(
    network: AnyNetwork, program: Program, x: np.ndarray, labels: np.ndarray | None, out: Path, names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """A row for each run, by name; no more than one trace is held beside the reference."""
    import torch

    from simulators.reference import reference_parts

    device = "cuda" if torch.cuda.is_available() else "cpu"
    console.rule(f"reference ({device.upper()}), and every backend, verified")
    ran = reference_parts(network, x, "iterative", "float64", device)
    iterative = _kept(out / run_folder.trace_file(ITERATIVE), ran, x)

    over = Remembered()  # most backends fire the same

    def judge(name: str, ran: Iterable[Trace]) -> dict[str, Any]:
        recorded = _kept(out / run_folder.trace_file(name), ran, x)
        verdict = verify(
            *((recorded, iterative) if name == PARALLEL else (iterative, recorded)), program, network=network, over=over
        )
        verdict.write(out / run_folder.verdict_file(name))
        row = _row(recorded, labels, verdict)
        console.print(f"{name}: {_sentence(row)}")
        return row

    runs = {ITERATIVE: _row(iterative, labels)}
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


def as_trained(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a run folder's metrics.json says of the network as it was trained; None where the checkpoint doesn't."""
    return {
        "task": checkpoint.task.get("name", "unknown"),
        "parallel": checkpoint.network.config.parallel,
        "parallel_accuracy": checkpoint.metrics.get("accuracy"),
        "parallel_spiking_rate": checkpoint.metrics.get("spiking_rate"),
        "training": checkpoint.metrics.get("history", []),
    }


def _read_labels(path: Path, x: np.ndarray, config: AnyConfig) -> np.ndarray:
    labels = read_array(path)
    expected = x.shape[:2] if config.readout == "sequence" else x.shape[:1]
    if labels.dtype.kind not in "iu" or labels.shape != expected:
        raise BadInput(path, f"doesn't hold integers of shape {expected}, one for each answer")
    if labels.min() < 0 or labels.max() >= config.d_output:
        raise BadInput(path, f"holds labels from {labels.min()} to {labels.max()}; the network knows {config.d_output}")
    return labels


if __name__ == "__main__":
    main(command)
