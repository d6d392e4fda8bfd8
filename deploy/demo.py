"""The whole road on real digits: train in parallel, score, then every station after training (deploy.road)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy import run_folder
from spikestrip.command import main, terminal
from spikestrip.files import write_json

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint

SCHEDULE = (("fused", 14), ("sdn", 1))  # the exact scan in one kernel, then the surrogate as the paper has it
WIDTH, MODES, LAYERS = 96, 16, 2
TARGET_RATE, LABEL_SMOOTHING, SHIFT = 0.12, 0.1, 1
SAMPLES = 32  # held-out sequences that every backend runs

console = terminal(highlight=False)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Run folder."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def command(out: Path, seed: int) -> None:
    """The whole road on 5,000 real MNIST digits, 784 steps each, ending in report.html."""
    from train.threads import choose

    threads = choose()  # before anything loads torch
    from deploy.road import road
    from train.held_out import held_out

    run_folder.prepare(out)
    checkpoint = _train(out, seed, threads and threads.operations)
    _score_stripped(checkpoint, out)
    chosen = held_out(checkpoint, out, SAMPLES)
    road(checkpoint, chosen.inputs, chosen.labels, out)


def _train(out: Path, seed: int, operations: int | None) -> Checkpoint:
    from train import tasks
    from train.checkpoint import load
    from train.config import Config
    from train.recipe import Recipe
    from train.run import fit

    console.rule("train in parallel over time")
    data = tasks.load("mnist5k")
    config = Config(data.channels, data.classes, d_model=WIDTH, d_state=MODES, layers=LAYERS, parallel=SCHEDULE[-1][0])
    recipe = Recipe(SCHEDULE, target_rate=TARGET_RATE, label_smoothing=LABEL_SMOOTHING, shift=SHIFT, seed=seed)
    fit(config, data, recipe, "cpu", out / run_folder.CHECKPOINT, operations=operations)
    return load(out / run_folder.CHECKPOINT)


def _score_stripped(checkpoint: Checkpoint, out: Path) -> None:
    from deploy.road import as_trained
    from deploy.score import score_stripped
    from train.held_out import held_out

    console.rule("score the stripped network")
    test = held_out(checkpoint, out)
    stripped = score_stripped(checkpoint, test)
    metrics = as_trained(checkpoint) | {
        "held_out": len(test.labels), "accuracy": stripped.accuracy, "spiking_rate": stripped.spiking_rate,
    }  # fmt: skip
    write_json(out / run_folder.METRICS, metrics)
    console.print(
        f"accuracy on {metrics['held_out']} held-out digits: {metrics['parallel_accuracy']:.1%} in parallel "
        f"({metrics['parallel']}), {metrics['accuracy']:.1%} stripped; spiking rate {metrics['spiking_rate']:.1%}"
    )


if __name__ == "__main__":
    main(command)
