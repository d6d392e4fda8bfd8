"""Data parallelism: what one of several processes (ranks) does so that all together train as one would.

Every rank takes its share of each batch. What a batch determines as a whole, the statistics of BatchNorm and the
spiking rate, is summed over the ranks, and gradients flow back through those sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn

from spikestrip.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process is number ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """The rows of a batch that are this rank's: at least one if there are as many as ranks."""
        return slice(self.rank * rows // self.world, (self.rank + 1) * rows // self.world)

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over all ranks, with gradient."""
        if self.world == 1:
            return tensor
        total: Tensor = _Sum.apply(tensor)
        return total

    def check_same(self, epochs: int, device: str, where: object) -> None:
        """Raise BadInput, on every rank, unless all found the same number of epochs in the folder ``where``."""
        most = torch.tensor([epochs, -epochs], dtype=torch.int64, device=device)
        if self.world > 1:
            torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        if most.sum() != 0:
            raise BadInput(where, f"isn't the same folder on every machine: here it is {epochs} epochs far")

    def gather(self, mine: T) -> list[T]:
        """What each rank gives, on every rank and in their order; nobody goes on before all are here."""
        given: list[Any] = [mine]
        if self.world > 1:
            given *= self.world
            torch.distributed.all_gather_object(given, mine)
        return given

    def prepare(self, network: nn.Module) -> nn.Module:
        """``network`` itself, or wrapped so that its gradients are averaged and its BatchNorms see the whole batch."""
        if self.world == 1:
            return network
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm1d):
                    setattr(parent, name, _WholeBatchNorm(child, self))
        return nn.parallel.DistributedDataParallel(network)


ALONE = Ranks()


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The ranks that ``torchrun`` started, or this process alone. Gloo on the CPU, NCCL on CUDA."""
    world = _world()
    if world == 1:
        yield ALONE
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Ranks(torch.distributed.get_rank(), world)
    finally:
        torch.distributed.destroy_process_group()


def local_device(device: str) -> str:
    """``cuda`` as the device of this rank on its machine; others as they are."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def check_batch(batch: int) -> None:
    """Raise BadInput unless each rank gets a sequence of every full batch."""
    if batch < _world():
        raise BadInput("--batch", f"{batch} sequences can't be shared by {_world()} processes")


def _world() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class _Sum(torch.autograd.Function):
    """The sum over all ranks; each rank's loss may depend on it, so the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _reduced(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


def _reduced(tensor: Tensor) -> Tensor:
    total = tensor.clone()
    torch.distributed.all_reduce(total)
    return total


class _WholeBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d on (B, H, L), or rows (B*L, H), with the statistics of all ranks' rows (torch's own needs CUDA)."""

    def __init__(self, norm: nn.BatchNorm1d, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.ranks = ranks

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        rows = (0, 2) if x.ndim == 3 else (0,)
        of_channels = (-1, 1) if x.ndim == 3 else (-1,)
        count = self.ranks.sum(x.new_tensor(float(x[:, 0].numel())))
        mean = self.ranks.sum(x.sum(rows)) / count
        centred = x - mean.view(of_channels)
        variance = self.ranks.sum(centred.square().sum(rows)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)  # type: ignore[union-attr, arg-type]
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale.view(of_channels) + self.bias.view(of_channels)
