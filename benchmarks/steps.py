"""A training step at a given size, for the benchmarks that time one; also run with another commit's packages."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from train import score
from train.config import Config
from train.loop import _rate_penalty  # other commits have it under this name
from train.networks import Network
from train.ranks import ALONE
from train.recipe import Recipe

SMNIST = {"d_model": 64, "d_state": 16, "layers": 2}
LARGER = {"d_model": 128, "d_state": 32, "layers": 4}
TINY = {"d_model": 4, "d_state": 2, "layers": 1}
BATCH, LENGTH = 50, 784


def network(**options: Any) -> Network:
    """One input channel, ten classes, dropout off; the same weights each time."""
    torch.manual_seed(0)
    return Network(Config(**{"d_input": 1, "d_output": 10, "dropout": 0.0, **options}))


def images(batch: int, length: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Random values in 0..1, (B, L, 1), and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, length, 1, generator=generator)
    return x.to(device), torch.randint(10, (batch,), generator=generator).to(device)


def training_step(network: Network, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """Forward, backward, optimiser and meter, as train.loop has them for experiments/smnist.toml."""
    network.train()
    recipe = Recipe((("scan", 1),), target_rate=0.1)
    optimizer = recipe.optimizer(network)
    once = "rates" in signature(score.meter).parameters  # other commits sum the trains twice

    def step() -> None:
        logits, trains = network(x)
        loss = score.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        seen: Any = score.spiking_rates(trains) if once else trains
        (loss + _rate_penalty(seen, recipe, 1.0, ALONE)).backward()
        optimizer.step()
        score.meter(logits, labels, loss, seen)

    return step
