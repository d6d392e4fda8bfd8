"""Loops that numba compiles, with one set of settings; loaded only where they run, for numba is an extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, with a cache on disk where a folder can be written. No multiply-add is fused, no order changed."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no place for the cache
        return njit(nogil=True, error_model="numpy")(function)
