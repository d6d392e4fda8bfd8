"""The training loop: one row an epoch, one point of the curve every few batches, resumable after every epoch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from spikestrip.errors import BadInput, SpikestripError
from train.augmentation import shifted
from train.building import AnyNetwork
from train.margin import hinges
from train.networks import Network
from train.neurons.checks import later, require
from train.norms import restate
from train.ranks import ALONE, Ranks
from train.recipe import Recipe
from train.score import Sequences, batches, cross_entropy, evaluate, meter, score, spiking_rates
from train.tasks import Split
from train.threads import operations_on

if TYPE_CHECKING:
    from train.resuming import State

POINT = 50  # batches that a point of the curve sums up
RESTATED = 8  # batches by which the norms' statistics are taken anew after an epoch


@dataclasses.dataclass
class Progress:
    """How far a training is. epochs: one row for each; curve: one row for each POINT batches.

    drawn: sequences seen so far, which number the random spikes: each time that one is seen, its spikes are others.
    """

    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    drawn: int = 0


def train(
    network: AnyNetwork,
    split: Split,
    recipe: Recipe,
    device: str,
    *,
    image: tuple[int, int] | None = None,
    validation: Split | None = None,
    resume: State | None = None,
    after_epoch: Callable[[Progress, dict[str, Any]], None] = lambda progress, state: None,
    ranks: Ranks = ALONE,
) -> Progress:
    """Train ``network`` in place; returns its history.

    image: height and width, where the sequences are the pixels of images, for ``recipe.shift``.
    after_epoch(progress, state) is called after each epoch, on every rank; a later call that resumes from it goes on
    from there, to the same weights, bit for bit, as if it hadn't stopped: an epoch draws by the seed and its own number
    alone.
    Raises BadInput for a shift of what are no images, and for a state of another network;
    SpikestripError when the loss is no longer finite.
    """
    if recipe.shift and image is None:
        raise BadInput("--shift", "moves images; the sequences of this task aren't the pixels of one, row by row")
    network.to(device)
    optimizer = recipe.optimizer(network)
    progress = Progress()
    if resume is not None:
        progress = resume.restore(network, optimizer)
    model = ranks.prepare(network)
    sequences = Sequences(split, device)
    order = np.arange(len(split.labels))
    spent = sum(row["seconds"] for row in progress.epochs)
    if recipe.minutes is not None and ranks.world > 1:
        raise BadInput("--minutes", "clocks of several processes differ; a time is for one alone")
    # a last batch in which not every rank would have a sequence is left out
    steps = len(order) // recipe.batch + (len(order) % recipe.batch >= ranks.world)
    for epoch, method in enumerate(recipe.methods()):
        if epoch < len(progress.epochs):
            continue
        if recipe.minutes is not None and spent >= 60 * recipe.minutes:
            break
        network.train()
        network.set_parallel(method)
        compiled = isinstance(network, Network) and network.compiled()  # what torch adds isn't worth its threads
        torch.manual_seed(int(np.random.SeedSequence([recipe.seed, epoch, ranks.rank]).generate_state(1)[0]))
        rng = np.random.default_rng([recipe.seed, epoch])
        shuffled = rng.permutation(order)
        began = time.perf_counter()
        sums, point = torch.zeros(2, 4, dtype=torch.float64, device=device)
        bar = tqdm(islice(batches(shuffled, recipe.batch), steps), total=steps, disable=None if ranks.first else True,
                   desc=f"epoch {epoch + 1}/{recipe.epochs} ({method})", unit="batch")  # fmt: skip
        with (
            later() as checks,
            hinges(network, recipe.margin) as margins,
            operations_on(1 if compiled else torch.get_num_threads()),
        ):
            for number, batch in enumerate(bar):
                step = epoch * steps + number
                seconds = spent + time.perf_counter() - began
                last = number + 1 == steps or (recipe.minutes is not None and seconds >= 60 * recipe.minutes)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * recipe.factor(step, steps, seconds)
                mine = ranks.share(len(batch))
                margins.clear()
                x, labels = sequences.rows(batch[mine])
                if recipe.shift and image is not None:
                    offsets = rng.integers(-recipe.shift, recipe.shift + 1, (len(batch), 2))[mine]
                    x = shifted(x, image, torch.from_numpy(offsets))
                logits, trains = model(x, first_sample=progress.drawn + mine.start)
                progress.drawn += len(batch)
                loss = cross_entropy(logits, labels, recipe.label_smoothing)
                require(torch.isfinite(loss), _diverged)
                optimizer.zero_grad(set_to_none=True)
                # the ranks' gradients are averaged: each weighs as many sequences as it has
                share = len(labels) / len(batch)
                rates = spiking_rates(trains)
                own = loss + recipe.margin_weight * sum(margins)
                (own * (share * ranks.world) + _rate_penalty(rates, recipe, share, ranks)).backward()
                optimizer.step()
                point += meter(logits, labels, loss, rates)
                if (number + 1) % POINT == 0 or last:
                    checks.settle()
                    here = score(ranks.sum(point))
                    progress.curve.append({"step": step + 1, "epoch": epoch + 1, **dataclasses.asdict(here)})
                    bar.set_postfix(loss=f"{here.loss:.3f}", accuracy=f"{here.accuracy:.3f}", refresh=False)
                    sums, point = sums + point, torch.zeros_like(point)
                if last:
                    break

        def again(batch: np.ndarray) -> None:
            mine = ranks.share(len(batch))
            network(sequences.rows(batch[mine])[0], first_sample=mine.start)

        with later():
            restate(network, again, islice(batches(shuffled, recipe.batch), min(steps, RESTATED)))
        row = {"epoch": epoch + 1, "method": method, **dataclasses.asdict(score(ranks.sum(sums)))}
        if validation is not None:
            judged = evaluate(network, validation, device, ranks)
            row |= {f"validation_{name}": value for name, value in dataclasses.asdict(judged).items()}
        row["seconds"] = time.perf_counter() - began
        spent += row["seconds"]
        progress.epochs.append(row)
        if ranks.first:
            tqdm.write("  ".join(f"{name} {_shown(value)}" for name, value in row.items()))
        state = {
            "network": network.state_dict(), "optimizer": optimizer.state_dict(),
            "progress": dataclasses.asdict(progress), "operations": torch.get_num_threads(),
        }  # fmt: skip
        after_epoch(progress, state)
    network.eval()
    return progress


def _rate_penalty(rates: Tensor, recipe: Recipe, share: float, ranks: Ranks) -> Tensor | float:
    """rate_weight * (rate - target_rate)**2 for every layer above it, by the rate of the whole batch."""
    if recipe.target_rate is None:
        return 0.0
    whole = ranks.sum(rates * share)
    return recipe.rate_weight * (whole - recipe.target_rate).clamp(min=0).square().sum()


def _diverged() -> SpikestripError:
    return SpikestripError("training: the loss is no longer finite; lower --lr")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
