"""Train a network in parallel over time: ``python train/run.py --task mnist5k --out ckpt.pt``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import writable

if TYPE_CHECKING:
    from train.config import Config
    from train.loop import Recipe
    from train.tasks import Task

RESET_OF = {"spikingssm": "hard", "spikessm": "refractory", "pspikessm": "none"}


def parse_schedule(text: str, epochs: int) -> tuple[tuple[str, int], ...]:
    """``"scan"`` for all epochs, or ``"scan:8,sdn:2"``, whose numbers add up to ``epochs``."""
    from train.neurons.methods import METHODS

    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"([a-z]+)(?::(\d+))?", part.strip())
        if match is None or match[1] not in METHODS:
            raise BadInput("--parallel", f"{part!r} is not one of {', '.join(METHODS)}, or METHOD:EPOCHS of them")
        parts.append((match[1], None if match[2] is None else int(match[2])))
    if len(parts) == 1 and parts[0][1] is None:
        return ((parts[0][0], epochs),)
    if any(count is None for _, count in parts) or sum(count or 0 for _, count in parts) != epochs:
        raise BadInput("--parallel", f"the epochs of {text!r} don't add up to --epochs {epochs}")
    return tuple((method, count or 0) for method, count in parts)


@click.command(context_settings={"show_default": True})
@click.option("--task", default="mnist5k", help="Data set; an unknown name lists them.")
@click.option("--model", type=click.Choice(sorted(RESET_OF)), default="spikingssm", help="Whose neuron and block.")
@click.option("--parallel", help="How spikes are computed in parallel: scan, block, sdn, pmbc or bptt; or a schedule "
              "such as scan:8,sdn:2. Default: scan on the CPU, block elsewhere.")  # fmt: skip
@click.option("--pmbc-iterations", type=click.IntRange(1), help="Stop pmbc after M iterations, as the paper "
              "does, and say how many spikes that misses. Default: until the bounds meet.")  # fmt: skip
@click.option("--d-model", type=click.IntRange(1), default=64, help="H, channels of the residual stream.")
@click.option("--d-state", type=click.IntRange(1), default=32, help="N, complex modes of each channel's SSM.")
@click.option("--layers", type=click.IntRange(1), default=2, help="K, blocks.")
@click.option("--mix", type=click.Choice(["linear", "glu"]), default="linear", help="How spikes mix over channels.")
@click.option("--norm", type=click.Choice(["batch", "layer", "none"]), default="batch", help="Norm of every block.")
@click.option("--prenorm", is_flag=True, help="Normalise a block's input rather than its output.")
@click.option("--reset", type=click.Choice(["hard", "soft", "refractory"]), help="Default: what the model's paper has.")
@click.option("--tau", type=float, default=0.125, help="Decay of the membrane potential.")
@click.option("--dropout", type=float, default=0.0, help="On each block's mix.")
@click.option("--epochs", type=click.IntRange(0), default=10, help="0 writes the network as it is initialised.")
@click.option("--batch", type=click.IntRange(1), default=50, help="Sequences a step.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.01, help="Peak learning rate.")
@click.option("--target-rate", type=click.FloatRange(0, 1), help="Penalise layers that spike more than this share.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of weights, sample order, random spikes.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint to write (.pt, .safetensors).")
def command(
    task: str, model: str, parallel: str | None, pmbc_iterations: int | None, d_model: int, d_state: int, layers: int,
    mix: str, norm: str, prenorm: bool,
    reset: str | None, tau: float, dropout: float, epochs: int, batch: int, lr: float, target_rate: float | None,
    seed: int, device: str,
    data_dir: Path | None, out: Path,
) -> None:  # fmt: skip
    """Train a spiking state-space model in parallel over time and write a checkpoint."""
    from train import tasks
    from train.config import Config
    from train.devices import check_device
    from train.loop import Recipe
    from train.neurons.methods import default_method

    writable(out)
    check_device(device)
    schedule = parse_schedule(parallel or default_method(device), epochs)
    data = tasks.load(task, data_dir)
    config = Config.parse({
        "d_input": data.channels, "d_output": data.classes, "tokens": data.tokens, "d_model": d_model,
        "d_state": d_state, "layers": layers, "model": model, "mix": mix, "norm": norm, "prenorm": prenorm,
        "reset": reset or RESET_OF[model], "tau": tau, "dropout": dropout, "parallel": schedule[-1][0],
        "seed": seed, "pmbc_iterations": pmbc_iterations or 0,
    })  # fmt: skip
    metrics = fit(config, data, Recipe(schedule, batch=batch, lr=lr, target_rate=target_rate, seed=seed), device, out)
    click.echo(
        f"{out}: accuracy {metrics['accuracy']:.4f} on {len(data.test.labels)} held-out sequences, "
        f"spiking rate {metrics['spiking_rate']:.3f} ({schedule[-1][0]})"
    )


def fit(config: Config, data: Task, recipe: Recipe, device: str, out: Path) -> dict[str, object]:
    """Train, score on the test split and write the checkpoint; returns its metrics."""
    import torch

    from train.checkpoint import Checkpoint, save
    from train.loop import evaluate, train
    from train.networks import Network

    torch.manual_seed(recipe.seed)
    network = Network(config)
    history = train(network, data.train, recipe, device)
    score = evaluate(network, data.test, device)
    metrics: dict[str, object] = {
        "accuracy": score.accuracy, "loss": score.loss, "spiking_rate": score.spiking_rate, "history": history,
    }  # fmt: skip
    task = {"name": data.name, "classes": data.classes, "channels": data.channels, "tokens": data.tokens}
    save(out, Checkpoint(network, task, metrics))
    return metrics


if __name__ == "__main__":
    main(command)
