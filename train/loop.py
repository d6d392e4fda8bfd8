"""The training loop: AdamW with its own group for the SSM, cosine decay with warm-up."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from spikestrip.errors import SpikestripError
from train.networks import Network
from train.tasks import Split

SSM_PARAMETERS = ("log_dt", "log_A_real", "A_imag", "B")
EVALUATION_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train. ``schedule``: (method, epochs), in order; ``ssm_lr`` drives dt, A and B, without weight decay.

    target_rate: spikes a neuron and step above which a layer is penalised, by rate_weight * (rate - target_rate)**2.
    """

    schedule: tuple[tuple[str, int], ...]
    batch: int = 50
    lr: float = 0.01
    ssm_lr: float = 0.001
    weight_decay: float = 0.01
    warmup: float = 0.1
    target_rate: float | None = None
    rate_weight: float = 10.0
    seed: int = 0

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.schedule)

    def methods(self) -> Iterator[str]:
        """The parallel form of every epoch."""
        for method, epochs in self.schedule:
            yield from [method] * epochs


@dataclasses.dataclass
class Score:
    """Accuracy, loss (mean cross entropy) and spiking rate (spikes a neuron and step) over a split."""

    accuracy: float
    loss: float
    spiking_rate: float


def train(network: Network, split: Split, recipe: Recipe, device: str) -> list[dict[str, Any]]:
    """Train ``network`` in place; returns one row an epoch: method, loss, accuracy and spiking rate while training.

    Raises SpikestripError when the loss is no longer finite.
    """
    network.to(device).train()
    optimizer = _optimizer(network, recipe)
    steps = math.ceil(len(split.labels) / recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(steps * recipe.epochs, recipe.warmup))
    generator = np.random.default_rng(recipe.seed)
    rows: list[dict[str, Any]] = []
    drawn = 0  # samples so far: each time that one is seen, its random spikes are others
    for epoch, method in enumerate(recipe.methods()):
        network.set_parallel(method)
        began = time.perf_counter()
        meter = np.zeros(3)
        bar = tqdm(_batches(generator.permutation(len(split.labels)), recipe.batch), total=steps, disable=None,
                   desc=f"epoch {epoch + 1}/{recipe.epochs} ({method})", unit="batch")  # fmt: skip
        for chosen in bar:
            x, labels = _tensors(split, chosen, device)
            logits, trains = network(x, first_sample=drawn)
            drawn += len(chosen)
            loss = F.cross_entropy(logits, labels)
            if not torch.isfinite(loss):
                raise SpikestripError(f"training: the loss is {loss.item()} in epoch {epoch + 1}; lower --lr")
            optimizer.zero_grad(set_to_none=True)
            (loss + _rate_penalty(trains, recipe)).backward()
            optimizer.step()
            schedule.step()
            hits = (logits.argmax(-1) == labels).sum().item()
            meter += len(chosen) * np.array([loss.item(), hits / len(chosen), _rate(trains)])
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        loss_mean, accuracy, rate = (meter / len(split.labels)).tolist()
        rows.append({
            "epoch": epoch + 1, "method": method, "loss": loss_mean, "accuracy": accuracy, "spiking_rate": rate,
            "seconds": time.perf_counter() - began,
        })  # fmt: skip
        tqdm.write(f"epoch {epoch + 1:3d}  {method:5s}  loss {loss_mean:.4f}  accuracy {accuracy:.4f}  rate {rate:.3f}")
    network.eval()
    return rows


def evaluate(network: Network, split: Split, device: str) -> Score:
    """Score ``network``, as its parallel form computes it, over ``split``."""
    network.to(device).eval()
    meter = np.zeros(3)
    with torch.inference_mode():
        for chosen in _batches(np.arange(len(split.labels)), EVALUATION_BATCH):
            x, labels = _tensors(split, chosen, device)
            logits, trains = network(x, first_sample=int(chosen[0]))
            hits = (logits.argmax(-1) == labels).sum().item()
            meter += [hits, F.cross_entropy(logits, labels, reduction="sum").item(), len(chosen) * _rate(trains)]
    return Score(*(meter / len(split.labels)).tolist())


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    ssm, plain, decayed = [], [], []
    for name, parameter in network.named_parameters():
        if name.rsplit(".", 1)[-1] in SSM_PARAMETERS:
            ssm.append(parameter)
        elif parameter.ndim < 2:
            plain.append(parameter)
        else:
            decayed.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": ssm, "lr": min(recipe.lr, recipe.ssm_lr), "weight_decay": 0.0},
        {"params": plain, "weight_decay": 0.0},
        {"params": decayed},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _warm_cosine(total: int, warmup: float) -> Any:
    first = max(1, round(warmup * total))

    def factor(step: int) -> float:
        if step < first:
            return (step + 1) / first
        return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, total - first)))

    return factor


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _tensors(split: Split, chosen: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(split.inputs[chosen]).to(device)
    return x, torch.from_numpy(split.labels[chosen]).to(device)


def _rate_penalty(trains: list[Tensor], recipe: Recipe) -> Tensor | float:
    if recipe.target_rate is None:
        return 0.0
    rates = torch.stack([train.mean() for train in trains])
    return recipe.rate_weight * (rates - recipe.target_rate).clamp(min=0).square().sum()


def _rate(trains: list[Tensor]) -> float:
    return float(torch.stack([train.detach().mean() for train in trains]).mean())
