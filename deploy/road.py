"""Every station after training: ``python deploy/road.py ckpt.pt --samples 16 --out RUN_DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import read_array, write_json

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint
    from train.config import Config


@click.command("road")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), help="x.npy: (B, T, C), or ids.")
@click.option("--labels", "answers", type=click.Path(path_type=Path), help="y.npy: (B,), or (B, T) for sequences.")
@click.option("--samples", type=click.IntRange(1), help="Instead: so many held-out sequences of the network's task.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder; a former run's is replaced.")
@click.option("--backends", "wanted", help="Simulators by name, with commas; default: all five.")
def command(
    checkpoint: Path, source: Path | None, answers: Path | None, samples: int | None, data_dir: Path | None,
    out: Path, wanted: str | None,
) -> None:  # fmt: skip
    """Strip CHECKPOINT, convert it, run it on every backend and verify each, ending in report.html and road.json.

    A backend that can't hold the network is refused by name, and no failure. Exit code 1: a verdict is fail.
    """
    from deploy.stations import prepare, road
    from simulators import backends
    from spikestrip import inputs
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
        x = inputs.read(source, (config.d_input,))
        labels = _read_labels(answers, x, config) if answers else None
    else:
        test = held_out(loaded, checkpoint, samples, data_dir)
        x, labels = np.ascontiguousarray(test.inputs), test.labels
    prepare(out, (*files(checkpoint), source, answers))
    save(out / "ckpt.pt", loaded)
    write_json(out / "metrics.json", as_trained(loaded))
    road(loaded, x, labels, out, names)


def as_trained(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a run folder's metrics.json says of the network as it was trained; None where the checkpoint doesn't."""
    return {
        "task": checkpoint.task.get("name", "unknown"),
        "parallel": checkpoint.network.config.parallel,
        "parallel_accuracy": checkpoint.metrics.get("accuracy"),
        "parallel_spiking_rate": checkpoint.metrics.get("spiking_rate"),
        "training": checkpoint.metrics.get("history", []),
    }


def _read_labels(path: Path, x: np.ndarray, config: Config) -> np.ndarray:
    labels = read_array(path)
    expected = x.shape[:1] if config.readout == "mean" else x.shape[:2]
    if labels.dtype.kind not in "iu" or labels.shape != expected:
        raise BadInput(path, f"doesn't hold integers of shape {expected}, one for each answer")
    if labels.min() < 0 or labels.max() >= config.d_output:
        raise BadInput(path, f"holds labels from {labels.min()} to {labels.max()}; the network knows {config.d_output}")
    return labels


if __name__ == "__main__":
    main(command)
