"""What a network is trained for and judged by: cross entropy, accuracy, spiking rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from train.building import AnyNetwork
from train.neurons.bits import Bits
from train.neurons.checks import later
from train.ranks import ALONE, Ranks
from train.tasks import Split

EVALUATION_BATCH = {"cpu": 32, "cuda": 256}  # on a CPU 32 is twice as fast as 256, whose tensors leave the cache
RESIDENT = 1 << 32  # bytes of a split that is kept on an accelerator


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


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of logits (B, V) and labels (B,), or of (B, T, V) and (B, T)."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing)


class _Rate(torch.autograd.Function):
    """The mean of a spike train. Its gradient is one number, seen everywhere: ``mean``'s own is a tensor of the size
    and memory order of the train, which its sum with the gradient of the layers above then has to take."""

    @staticmethod
    def forward(ctx: Any, train: Tensor) -> Tensor:
        ctx.shape = train.shape
        return train.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] / ctx.shape.numel()).expand(ctx.shape)


def spiking_rates(trains: Sequence[Tensor | Bits]) -> Tensor:
    """Spikes a neuron and step of each layer's train (B, H, L): (layers,), differentiable.

    ``train.fused`` counts them as it makes them, and tells ``rate`` of its trains.
    """
    return torch.stack([train.rate if hasattr(train, "rate") else _Rate.apply(train) for train in trains])


def meter(logits: Tensor, labels: Tensor, loss: Tensor, rates: Tensor) -> Tensor:
    """Sums over the rows of a batch: (rows, hits, loss, spiking rate), float64, left on the device: no one waits.

    rates: (layers,), as ``spiking_rates`` gives them.
    """
    hits = (logits.argmax(-1) == labels).float().mean()
    rate = rates.detach().mean()
    return len(labels) * torch.stack([torch.ones_like(rate), hits, loss.detach(), rate]).double()


def score(sums: Tensor) -> Score:
    """The means of summed meters."""
    return Score(*(sums[1:] / sums[0]).tolist())


def evaluate(network: AnyNetwork, split: Split, device: str, ranks: Ranks = ALONE) -> Score:
    """Score ``network``, as its parallel form computes it, over ``split``; each rank does its share."""
    network.to(device).eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    sequences = Sequences(split, device)
    with torch.inference_mode(), later():
        for batch in batches(np.arange(len(split.labels)), EVALUATION_BATCH[sums.device.type]):
            chosen = batch[ranks.share(len(batch))]
            if len(chosen):
                x, labels = sequences.rows(chosen)
                logits, trains = network(x, first_sample=int(chosen[0]))
                sums += meter(logits, labels, cross_entropy(logits, labels), spiking_rates(trains))
    return score(ranks.sum(sums))


def batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``order`` in pieces of ``size``, the last one shorter."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


class Sequences:
    """The sequences of a split as tensors on ``device``; on an accelerator all are there at once, if they fit."""

    def __init__(self, split: Split, device: str) -> None:
        self.device = torch.device(device)
        self.inputs, self.labels = torch.from_numpy(split.inputs), torch.from_numpy(split.labels)
        if self.device.type != "cpu" and split.inputs.nbytes <= RESIDENT:
            self.inputs, self.labels = self.inputs.to(self.device), self.labels.to(self.device)

    def rows(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the ``chosen`` sequences; ids and labels as int64."""
        index = torch.from_numpy(chosen).to(self.inputs.device, non_blocking=True)
        x, labels = self.inputs[index].to(self.device), self.labels[index].to(self.device)
        return (x if x.is_floating_point() else x.long()), labels.long()
