"""Arrays that processes share: the input of a run, what was recorded, how far everybody is."""

from __future__ import annotations

import math
import mmap
import os
import types

import numpy as np

Layout = dict[str, tuple[tuple[int, ...], str]]


class SharedArrays:
    """Named arrays, zero at first, in memory without a name: it is gone when its last user is, however that one ends.

    layout: name -> (shape, dtype). ``descriptor``: of the memory, handed down by who made it; without it new memory is
    made.
    """

    def __init__(self, layout: Layout, descriptor: int | None = None) -> None:
        offsets, size = {}, 0
        for name, (shape, dtype) in layout.items():
            offsets[name] = size
            size += -(-math.prod(shape) * np.dtype(dtype).itemsize // 64) * 64
        if descriptor is None:
            descriptor = os.memfd_create("spikestrip")
            os.ftruncate(descriptor, size)
        self.layout = layout
        self.descriptor = descriptor
        memory = mmap.mmap(descriptor, size)
        self._arrays = {
            name: np.ndarray(shape, dtype, memory, offsets[name]) for name, (shape, dtype) in layout.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def close(self) -> None:
        """Close the descriptor; the arrays stay."""
        os.close(self.descriptor)


class AnonymousMemory:
    """Takes the place of Lava's shared memory manager: blocks that its forks share and that have no name.

    Lava's own are segments in /dev/shm, which stay behind when a run is killed.
    """

    def start(self) -> None:
        """Lava calls it; there is nothing to start."""

    def create_shared_memory(self, size: int) -> types.SimpleNamespace:
        """A block of ``size`` bytes, as ``buf``."""
        return types.SimpleNamespace(buf=memoryview(mmap.mmap(-1, size)))
