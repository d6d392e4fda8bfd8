"""The training loop: one row an epoch, one point of the curve every few batches, resumable after every epoch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from spikestrip.errors import SpikestripError
from train.networks import Network
from train.ranks import ALONE, Ranks
from train.recipe import Recipe
from train.score import batches, cross_entropy, evaluate, meter, score, tensors
from train.tasks import Split

POINT = 50  # batches that a point of the curve sums up


@dataclasses.dataclass
class Progress:
    """How far a training is. epochs: one row for each; curve: one row for each POINT batches.

    drawn: sequences seen so far, which number the random spikes: each time that one is seen, its spikes are others.
    """

    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    drawn: int = 0


def train(
    network: Network,
    split: Split,
    recipe: Recipe,
    device: str,
    *,
    validation: Split | None = None,
    resume: dict[str, Any] | None = None,
    after_epoch: Callable[[Progress, dict[str, Any]], None] = lambda progress, state: None,
    ranks: Ranks = ALONE,
) -> Progress:
    """Train ``network`` in place; returns its history.

    after_epoch(progress, state) is called after each epoch; a later call with ``resume=state`` goes on from there, to
    the same weights, bit for bit, as if it hadn't stopped: an epoch draws by the seed and its own number alone.
    Raises SpikestripError when the loss is no longer finite.
    """
    network.to(device)
    optimizer = recipe.optimizer(network)
    progress = Progress()
    if resume is not None:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        progress = Progress(**resume["progress"])
    model = ranks.prepare(network)
    order = np.arange(len(split.labels))
    # a last batch in which not every rank would have a sequence is left out
    steps = len(order) // recipe.batch + (len(order) % recipe.batch >= ranks.world)
    for epoch, method in enumerate(recipe.methods()):
        if epoch < len(progress.epochs):
            continue
        network.train()
        network.set_parallel(method)
        torch.manual_seed(int(np.random.SeedSequence([recipe.seed, epoch, ranks.rank]).generate_state(1)[0]))
        shuffled = np.random.default_rng([recipe.seed, epoch]).permutation(order)
        began = time.perf_counter()
        sums, point = np.zeros(4), np.zeros(4)
        bar = tqdm(islice(batches(shuffled, recipe.batch), steps), total=steps, disable=None if ranks.first else True,
                   desc=f"epoch {epoch + 1}/{recipe.epochs} ({method})", unit="batch")  # fmt: skip
        for number, batch in enumerate(bar):
            step = epoch * steps + number
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * recipe.factor(step, steps)
            mine = ranks.share(len(batch))
            x, labels = tensors(split, batch[mine], device)
            logits, trains = model(x, first_sample=progress.drawn + mine.start)
            progress.drawn += len(batch)
            loss = cross_entropy(logits, labels)
            if not torch.isfinite(loss):
                raise SpikestripError(f"training: the loss is {loss.item()} in epoch {epoch + 1}; lower --lr")
            optimizer.zero_grad(set_to_none=True)
            # the ranks' gradients are averaged: each weighs as many sequences as it has
            share = len(labels) / len(batch)
            (loss * (share * ranks.world) + _rate_penalty(trains, recipe, share, ranks)).backward()
            optimizer.step()
            point += meter(logits, labels, loss, trains)
            if (number + 1) % POINT == 0 or number + 1 == steps:
                here = score(_total(point, ranks))
                progress.curve.append({"step": step + 1, "epoch": epoch + 1, **dataclasses.asdict(here)})
                bar.set_postfix(loss=f"{here.loss:.3f}", accuracy=f"{here.accuracy:.3f}", refresh=False)
                sums, point = sums + point, np.zeros(4)
        row = {"epoch": epoch + 1, "method": method, **dataclasses.asdict(score(_total(sums, ranks)))}
        if validation is not None:
            judged = evaluate(network, validation, device, ranks)
            row |= {f"validation_{name}": value for name, value in dataclasses.asdict(judged).items()}
        row["seconds"] = time.perf_counter() - began
        progress.epochs.append(row)
        if ranks.first:
            tqdm.write("  ".join(f"{name} {_shown(value)}" for name, value in row.items()))
            state = {
                "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                "progress": dataclasses.asdict(progress),
            }  # fmt: skip
            after_epoch(progress, state)
    network.eval()
    return progress


def _rate_penalty(trains: list[Tensor], recipe: Recipe, share: float, ranks: Ranks) -> Tensor | float:
    """rate_weight * (rate - target_rate)**2 for every layer above it, by the rate of the whole batch."""
    if recipe.target_rate is None:
        return 0.0
    rates = ranks.sum(torch.stack([train.mean() for train in trains]) * share)
    return recipe.rate_weight * (rates - recipe.target_rate).clamp(min=0).square().sum()


def _total(sums: np.ndarray, ranks: Ranks) -> np.ndarray:
    return ranks.sum(torch.from_numpy(sums)).numpy()


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
