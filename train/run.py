"""Train a network in parallel over time: ``python train/run.py --task mnist5k --out ckpt.pt``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import writable
from train.experiment import RESET_OF, Experiment, read

if TYPE_CHECKING:
    from train.config import Config
    from train.folder import RunFolder
    from train.ranks import Ranks
    from train.recipe import Recipe
    from train.tasks import Split, Task


def _from_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        context.default_map = read(path)
    return path


@click.command(context_settings={"show_default": True})
@click.argument("described", metavar="[EXPERIMENT]", type=click.Path(path_type=Path), required=False, is_eager=True,
                callback=_from_file)  # fmt: skip
@click.option("--task", default="mnist5k", help="Data set (docs/tasks.md); an unknown name lists them.")
@click.option("--length", type=click.IntRange(1), help="Steps of a sequence, for tasks that leave it open.")
@click.option("--model", type=click.Choice(sorted(RESET_OF)), default="spikingssm", help="Whose neuron and block.")
@click.option("--parallel", help="How spikes are computed in parallel: scan, block, sdn, pmbc or bptt; or a schedule "
              "such as scan:8,sdn:2. Default: scan on the CPU, block elsewhere.")  # fmt: skip
@click.option("--pmbc-iterations", type=click.IntRange(1), help="Stop pmbc after M iterations, as the paper "
              "does, and say how many spikes that misses. Default: until the bounds meet.")  # fmt: skip
@click.option("--sdn", type=click.Path(path_type=Path), help="Weights of the surrogate for sdn: train/sdn.py's, or "
              "official ones. Default: those shipped, for tau 0.125 and hard reset.")  # fmt: skip
@click.option("--d-model", type=click.IntRange(1), default=64, help="H, channels of the residual stream.")
@click.option("--d-state", type=click.IntRange(1), default=32, help="N, complex modes of each channel's SSM.")
@click.option("--layers", type=click.IntRange(1), default=2, help="K, blocks.")
@click.option("--mix", type=click.Choice(["linear", "glu"]), default="linear", help="How spikes mix over channels.")
@click.option("--norm", type=click.Choice(["batch", "layer", "none"]), default="batch", help="Norm of every block.")
@click.option("--prenorm", is_flag=True, help="Normalise a block's input rather than its output.")
@click.option("--reset", type=click.Choice(["hard", "soft", "refractory"]), help="Default: what the model's paper has.")
@click.option("--tau", type=float, default=0.125, help="Decay of the membrane potential.")
@click.option("--learn-threshold/--fixed-threshold", default=True, help="One threshold a neuron, or 1 for all.")
@click.option("--dropout", type=float, default=0.0, help="On each block's mix.")
@click.option("--tie-dropout", is_flag=True, help="One dropout mask for all steps of a sequence and channel.")
@click.option("--drop-spikes", is_flag=True, help="The same dropout on the spikes, before they are mixed.")
@click.option("--epochs", type=click.IntRange(0), default=10, help="0 writes the network as it is initialised.")
@click.option("--batch", type=click.IntRange(1), default=50, help="Sequences a step, of all processes together.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.01, help="Peak learning rate.")
@click.option("--ssm-lr", type=click.FloatRange(0, min_open=True), default=0.001, help="The same of dt, A and B.")
@click.option("--weight-decay", type=click.FloatRange(0), default=0.01, help="Of matrices but for the SSM's.")
@click.option("--warmup", type=click.FloatRange(0, 1), default=0.1, help="Share of training in which the rate rises.")
@click.option("--target-rate", type=click.FloatRange(0, 1), help="Penalise layers that spike more than this share.")
@click.option("--validation", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Share of the training "
              "split to validate on after every epoch, unless the task brings a validation split.")  # fmt: skip
@click.option("--train-samples", type=click.IntRange(1), help="Train on a random subset of this many sequences.")
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Share of the target "
              "that all classes get alike.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="End training after this wall-clock time: the "
              "learning rate comes down in time. Such a run can't be repeated to the bit.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of weights, sample order, random spikes.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Folder of the run: checkpoint and state after "
              "every epoch, logs. A run that was stopped goes on when it is asked for again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Checkpoint to write (.pt, .safetensors).")
def command(
    described: Path | None, data_dir: Path | None, run_dir: Path | None, out: Path | None, **options: Any
) -> None:
    """Train a spiking state-space model in parallel over time and write a checkpoint.

    EXPERIMENT is a TOML file of options (names as below, underscores for dashes); what is given beside it wins.
    Under torchrun, the processes share each batch.
    """
    from train import tasks
    from train.devices import check_device
    from train.folder import READ, WRITTEN, RunFolder
    from train.ranks import check_batch, local_device, ranks

    if out is None and run_dir is None:
        raise BadInput("--out", "say where to write: --out ckpt.pt, --run-dir FOLDER, or both")
    experiment = Experiment(**options)
    given = (described, experiment.sdn)
    if run_dir is not None:
        for file in (run_dir / name for name in WRITTEN if (run_dir / name).exists()):
            writable(file, given)
    if out is not None:
        writable(out, (*given, *(run_dir / name for name in READ if run_dir is not None)))
    check_device(experiment.device)
    check_batch(experiment.batch)
    recipe = experiment.recipe()
    data = tasks.load(experiment.task, data_dir, experiment.length)
    config = experiment.config(data)
    device = local_device(experiment.device)
    with ranks(device) as here:
        folder = RunFolder(run_dir, experiment.described(), here) if run_dir else None
        metrics = fit(config, data, recipe, device, out, folder=folder, ranks=here, sdn=experiment.sdn)
    if here.first:
        kind = f"{metrics['bits']:.4f} bits" if data.readout == "sequence" else f"accuracy {metrics['accuracy']:.4f}"
        click.echo(
            f"{out or run_dir}: {kind} on {len(data.test.labels)} held-out sequences, "
            f"spiking rate {metrics['spiking_rate']:.3f} ({recipe.schedule[-1][0]})"
        )


def fit(
    config: Config,
    data: Task,
    recipe: Recipe,
    device: str,
    out: Path | None,
    *,
    folder: RunFolder | None = None,
    ranks: Ranks | None = None,
    sdn: Path | None = None,
) -> dict[str, object]:
    """Train, score on the test split and write the checkpoint; returns its metrics.

    With a ``folder``, resume from its state and keep the state after every epoch there.
    """
    import torch

    from train.checkpoint import Checkpoint, save
    from train.loop import Progress, train
    from train.networks import Network
    from train.ranks import ALONE
    from train.score import evaluate

    ranks = ranks or ALONE
    torch.manual_seed(recipe.seed)
    network = Network(config)
    if sdn is not None:
        from train.neurons.sdn import load

        network.set_surrogate(load(sdn, config.tau))
    task = {
        "name": data.name, "classes": data.classes, "channels": data.channels, "tokens": data.tokens,
        "steps": data.train.inputs.shape[1],
    }  # fmt: skip

    def write(path: Path, metrics: dict[str, object]) -> None:
        save(path, Checkpoint(network, task, metrics))

    def after_epoch(progress: Progress, state: dict[str, Any]) -> None:
        if folder is not None:
            folder.save(progress, state)
            write(folder.checkpoint, {"history": progress.epochs})

    training, validation = splits(data, recipe)
    progress = train(
        network, training, recipe, device, validation=validation, resume=folder.state() if folder else None,
        after_epoch=after_epoch, ranks=ranks,
    )  # fmt: skip
    score = evaluate(network, data.test, device, ranks)
    metrics = dataclasses.asdict(score) | {"bits": score.bits, "history": progress.epochs}
    if ranks.first:
        for path in [folder.checkpoint if folder else None, out]:
            if path is not None:
                write(path, metrics)
    return metrics


def splits(data: Task, recipe: Recipe) -> tuple[Split, Split | None]:
    """What to train on and what to validate on, none of it from the test split."""
    import numpy as np

    from train.tasks import Split, hold_out

    training, validation = data.train, data.validation
    if validation is None and recipe.validation:
        training, validation = hold_out(training.inputs, training.labels, recipe.validation, recipe.seed)
    if 0 < recipe.train_samples < len(training.labels):
        order = np.random.default_rng(recipe.seed).permutation(len(training.labels))
        kept = np.sort(order[: recipe.train_samples])
        training = Split(training.inputs[kept], training.labels[kept])
    return training, validation


if __name__ == "__main__":
    main(command)
