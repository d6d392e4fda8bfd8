"""The whole road on real digits: train in parallel, strip, convert, simulate, verify, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from tqdm import tqdm

from spikestrip import trace
from spikestrip.command import main
from spikestrip.errors import SpikestripError

if TYPE_CHECKING:
    from deploy.verify import Verdict
    from spikestrip.program import Program
    from spikestrip.trace import Trace
    from train.checkpoint import Checkpoint
    from train.tasks import Split

SCHEDULE = (("scan", 4), ("sdn", 2))  # the exact scan, then the surrogate as the paper has it
WIDTH, MODES, LAYERS = 64, 32, 2
TARGET_RATE = 0.12
SAMPLES = 64  # held-out sequences that every backend runs
BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")

console = Console(highlight=False)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Run folder."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def command(out: Path, seed: int) -> None:
    """The whole road on 5,000 real MNIST digits, 784 steps each, ending in report.html."""
    from deploy.report import render, summary_table

    out.mkdir(parents=True, exist_ok=True)
    held_out, checkpoint = _train(out, seed)
    program = _strip(checkpoint, out)
    _score_stripped(checkpoint, program, held_out, out)
    verdicts = _run_and_verify(checkpoint, program, held_out, out)
    render(out, out / "report.html")
    console.print(summary_table(out))
    console.print(f"report: {out / 'report.html'}")
    failed = [name for name, verdict in verdicts.items() if not verdict.passed]
    if failed:
        raise SpikestripError(f"verification failed: {', '.join(failed)}")


def _train(out: Path, seed: int) -> tuple[Split, Checkpoint]:
    from train import tasks
    from train.checkpoint import load
    from train.config import Config
    from train.loop import Recipe
    from train.run import fit

    console.rule("1  train in parallel over time")
    data = tasks.load("mnist5k")
    config = Config(data.channels, data.classes, d_model=WIDTH, d_state=MODES, layers=LAYERS, parallel=SCHEDULE[-1][0])
    fit(config, data, Recipe(SCHEDULE, target_rate=TARGET_RATE, seed=seed), "cpu", out / "ckpt.pt")
    return data.test, load(out / "ckpt.pt")


def _strip(checkpoint: Checkpoint, out: Path) -> Program:
    from convert.readers import nir as nir_reader
    from convert.strip import strip
    from convert.writers import nir as nir_writer
    from convert.writers import onnx as onnx_writer

    console.rule("2  strip to iterative neurons")
    program = strip(checkpoint.network)
    nir_writer.write(program, out / "model.nir")
    onnx_writer.write(onnx_writer.export(program), out / "model.onnx")
    console.print(f"{len(program.layers)} layers -> {out / 'model.nir'}, {out / 'model.onnx'}")
    return nir_reader.read(out / "model.nir")


def _score_stripped(checkpoint: Checkpoint, program: Program, held_out: Split, out: Path) -> None:
    """Accuracy and spiking rate of the iterative program on all held-out sequences, step by step in float32."""
    from simulators import backends

    backend = backends.load("torch")
    outputs, rates = [], []
    with tqdm(total=len(held_out.labels), desc="stripped network, step by step", unit="seq", disable=None) as bar:
        for start in range(0, len(held_out.labels), 4 * SAMPLES):
            x = held_out.inputs[start : start + 4 * SAMPLES]
            recording = backend.run(program, x, "float32", "cpu", lambda _: None)
            outputs.append(program.finish(recording.output))
            rates.append(np.mean([train.mean(axis=(1, 2)) for train in recording.spikes.values()], axis=0))
            bar.update(len(x))
    accuracy = float((np.concatenate(outputs).argmax(axis=1) == held_out.labels).mean())
    trained: dict[str, Any] = checkpoint.metrics
    metrics = {
        "task": checkpoint.task["name"],
        "held_out": len(held_out.labels),
        "accuracy": accuracy,
        "spiking_rate": float(np.concatenate(rates).mean()),
        "parallel_accuracy": trained["accuracy"],
        "parallel_spiking_rate": trained["spiking_rate"],
        "parallel": checkpoint.network.config.parallel,
        "training": trained["history"],
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    console.print(
        f"accuracy on {len(held_out.labels)} held-out digits: {trained['accuracy']:.1%} in parallel "
        f"({metrics['parallel']}), {accuracy:.1%} stripped; spiking rate {metrics['spiking_rate']:.1%}"
    )


def _run_and_verify(checkpoint: Checkpoint, program: Program, held_out: Split, out: Path) -> dict[str, Verdict]:
    import torch

    from convert.reference import reference
    from deploy.verify import verify
    from simulators import backends
    from simulators.run import simulate

    console.rule("3  reference, and every backend")
    chosen = np.random.default_rng(0).permutation(len(held_out.labels))[:SAMPLES]
    x, labels = held_out.inputs[chosen], held_out.labels[chosen]
    np.save(out / "x.npy", x)
    np.save(out / "labels.npy", labels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    console.print(f"{device.upper()} reference")
    parallel = reference(checkpoint.network, x, "parallel", "float32", device)
    iterative = reference(checkpoint.network, x, "iterative", "float64", device)
    trace.write(out / "reference.parallel.h5", parallel)
    trace.write(out / "reference.iterative.h5", iterative)
    pairs: dict[str, tuple[Trace, Trace]] = {"parallel": (parallel, iterative)}
    for name in BACKENDS:
        with tqdm(total=x.shape[0] * x.shape[1], desc=name, unit="step", unit_scale=True, disable=None) as bar:
            pairs[name] = (iterative, simulate(program, x, backends.load(name), "float64", "cpu", bar.update))
        trace.write(out / f"trace.{name}.h5", pairs[name][1])
        console.print(f"{name}: {SAMPLES} sequences in {pairs[name][1].attrs['seconds']:.1f} s")
    console.rule("4  verify")
    verdicts = {}
    for name, (expected, seen) in pairs.items():
        verdicts[name] = verify(expected, seen, program)
        verdicts[name].write(out / f"verdict.{name}.json")
        console.print(f"{name}: {verdicts[name].differ:,} spikes differ, {'pass' if verdicts[name].passed else 'fail'}")
    decisions = sum(train.size for train in iterative.spikes.values())
    wrong = verdicts["parallel"].causes.get("surrogate", 0)
    console.print(
        f"the surrogate decided {wrong:,} of {decisions:,} neuron-steps wrongly ({wrong / decisions:.2%}); "
        f"{verdicts['parallel'].differ / decisions:.2%} differ in all"
    )
    return verdicts


if __name__ == "__main__":
    main(command)
