"""What a network is trained for and judged by: cross entropy, accuracy, spiking rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.networks import Network
from train.ranks import ALONE, Ranks
from train.tasks import Split

EVALUATION_BATCH = 32  # twice as fast as 256, whose tensors leave the cache


@dataclasses.dataclass
class Score:
    """Over a split: accuracy and loss (mean cross entropy in nats) of its labels; spikes a neuron and step."""

    accuracy: float
    loss: float
    spiking_rate: float

    @property
    def bits(self) -> float:
        """The loss in bits: for a byte-level language model, bits per byte."""
        return self.loss / math.log(2)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, V) and labels (B,), or of (B, T, V) and (B, T)."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def meter(logits: Tensor, labels: Tensor, loss: Tensor, trains: list[Tensor]) -> np.ndarray:
    """Sums over the rows of a batch: (rows, hits, loss, spiking rate)."""
    hits = (logits.argmax(-1) == labels).float().mean()
    rate = torch.stack([train.detach().mean() for train in trains]).mean()
    return len(labels) * np.array([1.0, float(hits), float(loss.detach()), float(rate)])


def score(sums: np.ndarray) -> Score:
    """The means of summed meters."""
    return Score(*(sums[1:] / sums[0]).tolist())


def evaluate(network: Network, split: Split, device: str, ranks: Ranks = ALONE) -> Score:
    """Score ``network``, as its parallel form computes it, over ``split``; each rank does its share."""
    network.to(device).eval()
    sums = np.zeros(4)
    with torch.inference_mode():
        for batch in batches(np.arange(len(split.labels)), EVALUATION_BATCH):
            chosen = batch[ranks.share(len(batch))]
            if len(chosen):
                x, labels = tensors(split, chosen, device)
                logits, trains = network(x, first_sample=int(chosen[0]))
                sums += meter(logits, labels, cross_entropy(logits, labels), trains)
    return score(ranks.sum(torch.from_numpy(sums)).numpy())


def batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``order`` in pieces of ``size``, the last one shorter."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


def tensors(split: Split, chosen: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Inputs and labels of the ``chosen`` sequences; ids and labels as int64."""
    x = torch.from_numpy(split.inputs[chosen]).to(device)
    labels = torch.from_numpy(split.labels[chosen]).to(device)
    return (x if x.is_floating_point() else x.long()), labels.long()
