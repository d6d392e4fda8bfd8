"""What a step of training frees stays with the process for the next step: fresh pages cost more than filling them."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
MAPPED = 32 << 20  # bytes; glibc takes no more
KEPT = 1 << 30


def keep_freed() -> bool:
    """Have glibc's allocator keep tensors of up to 32 MiB, and up to 1 GiB of what is free, for the next step.

    By default it gives back what is free beyond twice the largest tensor so far, and the system clears every page that
    the next step takes. Does nothing, and returns False, where the user has chosen (MALLOC_..., GLIBC_TUNABLES) or the
    allocator is another.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of that name
        return False
    return bool(mallopt(MMAP_THRESHOLD, MAPPED) and mallopt(TRIM_THRESHOLD, KEPT))
