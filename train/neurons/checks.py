"""Checks of tensors' values: at once on the CPU. On a device each look would wait for all that was asked of it so far,
so a training loop has them looked at together, every few batches (``later``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from spikestrip.errors import SpikestripError

Error = Callable[[], SpikestripError]


class Pending:
    """The checks that nobody has looked at yet: whether each held every time, a tensor (), by the error it makes."""

    def __init__(self) -> None:
        self.held: dict[Error, Tensor] = {}

    def add(self, holds: Tensor, error: Error) -> None:
        self.held[error] = holds & self.held[error] if error in self.held else holds

    def settle(self) -> None:
        """Raise the first error whose check didn't hold."""
        held, self.held = self.held, {}
        for error, holds in zip(held, torch.stack([*held.values()]).tolist() if held else [], strict=True):
            if not holds:
                raise error()


_open: list[Pending] = []


@contextmanager
def later() -> Iterator[Pending]:
    """Within it, checks of tensors on a device wait for ``settle``, or for its end."""
    pending = Pending()
    _open.append(pending)
    try:
        yield pending
        pending.settle()
    finally:
        _open.remove(pending)


def require(holds: Tensor, error: Error) -> None:
    """Raise ``error()``, at once or when it is looked at, unless every element of ``holds`` is true."""
    if holds.device.type != "cpu" and _open:
        _open[-1].add(holds.all(), error)
    elif not bool(holds.all()):
        raise error()
