"""Train a network in parallel over time: ``python train/run.py --task mnist5k --out ckpt.pt``."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spikestrip.command import main
from spikestrip.errors import BadInput, within
from spikestrip.files import writable
from train.experiment import Experiment, read
from train.options import click_options

if TYPE_CHECKING:
    from train.building import AnyConfig
    from train.checkpoint import Checkpoint
    from train.folder import RunFolder
    from train.ranks import Ranks
    from train.recipe import Recipe
    from train.tasks import Split, Task


def _from_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        values = read(path)
        for option in context.command.params:
            if option.name in values:
                _check(path, context, option, values[option.name])
        context.default_map = values
    return path


def _check(path: Path, context: click.Context, option: click.Parameter, value: object) -> None:
    """Raise BadInput(path) unless ``value`` is of the option's own type: 2.5 is no number of layers, nor is "2"."""
    kinds = {click.types.IntParamType: int, click.types.FloatParamType: (int, float), click.types.BoolParamType: bool}
    wanted = next((kind for name, kind in kinds.items() if isinstance(option.type, name)), str)
    whole = isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)  # type: ignore[arg-type]
    if not whole or (isinstance(value, float) and not math.isfinite(value)):
        raise BadInput(path, f"{option.name} is {value!r}, not {option.type.name}")
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        raise BadInput(path, f"{option.name}: {error.message}") from error


@click.command(context_settings={"show_default": True})
@click.argument("described", metavar="[EXPERIMENT]", type=click.Path(path_type=Path), required=False, is_eager=True,
                callback=_from_file)  # fmt: skip
@click_options(Experiment)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Folder of the run: checkpoint and state after "
              "every epoch, logs. A run that was stopped goes on when it is asked for again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Checkpoint to write (.pt, .safetensors).")
def command(
    described: Path | None, data_dir: Path | None, run_dir: Path | None, out: Path | None, **options: Any
) -> None:
    """Train a spiking network, state-space or for a chip, in parallel over time and write a checkpoint.

    EXPERIMENT is a TOML file of options (names as below, underscores for dashes); what is given beside it wins.
    Under torchrun, the processes share each batch.
    """
    from train.threads import choose

    threads = choose()  # before anything loads torch
    if threads is not None:
        click.echo(threads.says, err=True)
    from train import tasks
    from train.building import check_size
    from train.devices import check_device
    from train.folder import READ, WRITTEN, RunFolder
    from train.ranks import check_batch, local_device, ranks

    if out is None and run_dir is None:
        raise BadInput("--out", "say where to write: --out ckpt.pt, --run-dir FOLDER, or both")
    start = None
    if options["start"] is not None:
        from train.checkpoint import files, load
        from train.start import adopt

        start = load(options["start"])
        context = click.get_current_context()
        said = {name for name in options if context.get_parameter_source(name) != click.core.ParameterSource.DEFAULT}
        options |= adopt(start, options, said)
    experiment = Experiment(**options)
    given = (described, experiment.sdn, *(files(experiment.start) if experiment.start is not None else ()))
    reads = [*given]
    if run_dir is not None:
        for file in (file for name in WRITTEN for file in run_dir.glob(name)):
            writable(file, given)
        reads += [file for name in READ for file in run_dir.glob(name)]
    if out is not None:
        writable(out, reads)
        mine = run_dir is not None and out.resolve().parent == run_dir.resolve()
        if mine and any(out.match(name) for name in READ):  # not there yet, or of another epoch
            raise BadInput(out, "is what the run resumes from, or its options; give another name to write to")
    check_device(experiment.device)
    check_batch(experiment.batch)
    named = within(described) if described is not None else nullcontext()
    data = tasks.load(experiment.task, data_dir, experiment.length)
    with named:
        recipe, config = experiment.recipe(), experiment.config(data)
        check_size(config)
    if start is not None:
        from train.start import check

        config = check(start, config, new_head=experiment.new_head)
        if experiment.quantize is not None and start.scales is None:
            remedy = "`spikestrip quantize CHECKPOINT --chip loihi2 --calibrate x.npy --scaled OUT` writes it with them"
            raise BadInput(experiment.start, f"carries no scales; {remedy}")
    device = local_device(experiment.device)
    with ranks(device) as here:
        folder = RunFolder(run_dir, experiment.described(), here) if run_dir else None
        with folder.held() if folder else nullcontext():
            metrics = fit(
                config, data, recipe, device, out, folder=folder, ranks=here, sdn=experiment.sdn, start=start,
                new_head=experiment.new_head, quantize=experiment.quantize is not None,
                operations=threads and threads.operations,
            )  # fmt: skip
    if here.first:
        kind = f"{metrics['bits']:.4f} bits" if data.readout == "sequence" else f"accuracy {metrics['accuracy']:.4f}"
        click.echo(
            f"{out or run_dir}: {kind} on {len(data.test.labels)} held-out sequences, "
            f"spiking rate {metrics['spiking_rate']:.3f} ({recipe.schedule[-1][0]})"
        )


def fit(
    config: AnyConfig,
    data: Task,
    recipe: Recipe,
    device: str,
    out: Path | None,
    *,
    folder: RunFolder | None = None,
    ranks: Ranks | None = None,
    sdn: Path | None = None,
    start: Checkpoint | None = None,
    new_head: bool = False,
    quantize: bool = False,
    operations: int | None = None,
) -> dict[str, object]:
    """Train, score on the test split and write the checkpoint; returns its metrics.

    With a ``folder``, resume from its state and keep the state after every epoch there. ``start``: whose weights come
    first, but for the head with ``new_head``; ``quantize``: train, and score, by the integers of its scales, which the
    new checkpoint then carries. ``operations``: threads of torch's own operations (``train.threads``), unless the run
    began with others.
    """
    import torch

    from train.building import build
    from train.checkpoint import Checkpoint, save
    from train.config import Config
    from train.loop import Progress, train
    from train.memory import keep_freed
    from train.ranks import ALONE
    from train.score import evaluate
    from train.threads import operations_on

    ranks = ranks or ALONE
    keep_freed()
    torch.manual_seed(recipe.seed)
    network = build(config)
    scales = start.scales if start is not None and quantize else None
    if scales is not None and isinstance(config, Config):
        from train.quantised import QuantisedNetwork

        network = QuantisedNetwork(config, scales)
    if start is not None:
        from train.start import fill

        fill(network, start, new_head=new_head)
    if sdn is not None:
        from train.neurons.sdn import load

        network.set_surrogate(load(sdn, config.tau))
    task = {
        "name": data.name, "classes": data.classes, "channels": data.channels, "tokens": data.tokens,
        "steps": data.train.inputs.shape[1],
    }  # fmt: skip

    def write(path: Path, metrics: dict[str, object]) -> None:
        save(path, Checkpoint(network, task, metrics, scales))

    def after_epoch(progress: Progress, state: dict[str, Any]) -> None:
        if folder is not None:
            folder.save(progress, state)
            if ranks.first:
                write(folder.checkpoint, {"history": progress.epochs})

    training, validation = splits(data, recipe)
    resume = folder.state() if folder else None
    ranks.check_same(len(resume.progress.epochs) if resume else 0, device, folder and folder.path)
    most = torch.get_num_threads()
    with operations_on(min((resume and resume.operations) or operations or most, most)):
        progress = train(
            network, training, recipe, device, image=data.image, validation=validation, resume=resume,
            after_epoch=after_epoch, ranks=ranks,
        )  # fmt: skip
        score = evaluate(network, data.test, device, ranks)
    metrics = dataclasses.asdict(score) | {"bits": score.bits, "history": progress.epochs}
    if scales is not None:
        metrics["computed"] = "loihi2"  # by its integers, not by the real network
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
    if not len(training.labels) or (validation is not None and not len(validation.labels)):
        raise BadInput(
            "--validation", f"{recipe.validation:g} of each class leaves none to train on, or none to validate"
        )
    if 0 < recipe.train_samples < len(training.labels):
        order = np.random.default_rng(recipe.seed).permutation(len(training.labels))
        kept = np.sort(order[: recipe.train_samples])
        training = Split(training.inputs[kept], training.labels[kept])
    return training, validation


if __name__ == "__main__":
    main(command)
