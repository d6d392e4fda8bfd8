"""Reused memory for large results: fresh pages from the system cost more than the scan that fills them."""

from __future__ import annotations

import weakref
from collections import deque

import torch
from torch import Tensor

IDLE_LIMIT = 1 << 30  # bytes kept without a user
# By kind, dtype and count. A buffer comes back whenever its last user is collected, in the midst of any of these lines
# and on any thread: each takes or gives with one step of a deque, and a count that is off by a buffer does no harm.
_idle: dict[tuple[torch.dtype, int], deque[Tensor]] = {}


def _give_back(kind: tuple[torch.dtype, int], buffer: Tensor) -> None:
    _idle.setdefault(kind, deque()).append(buffer)
    sizes = {kind: kind[0].itemsize * kind[1] for kind in list(_idle)}
    excess = sum(size * len(_idle.get(kind, ())) for kind, size in sizes.items()) - IDLE_LIMIT
    for kind, size in sizes.items():  # the kinds that came first, first
        while excess > 0 and _take(kind) is not None:
            excess -= size


def _take(kind: tuple[torch.dtype, int]) -> Tensor | None:
    try:
        return _idle[kind].popleft()
    except (KeyError, IndexError):
        return None


def empty(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A contiguous CPU tensor of unspecified values, like ``torch.empty``.

    Its memory comes from an earlier result of the same size that nobody can reach any more: the tensor is built on a
    numpy array that dies with the tensor's storage, which every view and every saved-for-backward keeps alive.
    """
    kind = dtype, shape.numel()
    buffer = _take(kind)
    if buffer is None:
        buffer = torch.empty(shape.numel(), dtype=dtype)
    array = buffer.numpy()
    weakref.finalize(array, _give_back, kind, buffer).atexit = False
    return torch.from_numpy(array).view(shape)


def forget() -> None:
    """Give idle memory back to the system."""
    _idle.clear()
