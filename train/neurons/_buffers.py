"""Reused memory for large results: fresh pages from the system cost more than the scan that fills them."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

IDLE_LIMIT = 1 << 30  # bytes kept without a user
_idle: list[Tensor] = []  # oldest first


def _give_back(buffer: Tensor) -> None:
    _idle.append(buffer)
    while sum(b.nbytes for b in _idle) > IDLE_LIMIT:
        _idle.pop(0)


def empty(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A contiguous CPU tensor of unspecified values, like ``torch.empty``.

    Its memory comes from an earlier result of the same size that nobody can reach any more: the tensor is built on a
    numpy array that dies with the tensor's storage, which every view and every saved-for-backward keeps alive.
    """
    count = shape.numel()
    match = next((i for i, b in enumerate(_idle) if b.dtype == dtype and b.numel() == count), None)
    buffer = torch.empty(count, dtype=dtype) if match is None else _idle.pop(match)
    array = buffer.numpy()
    weakref.finalize(array, _give_back, buffer).atexit = False
    return torch.from_numpy(array).view(shape)


def forget() -> None:
    """Give idle memory back to the system."""
    _idle.clear()
