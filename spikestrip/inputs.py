"""The input of a run: an .npy file of values (B, T, C), of token ids (B, T, 1) that become one-hot, or of events."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from spikestrip import events
from spikestrip.errors import BadInput
from spikestrip.execution import parts
from spikestrip.files import map_array
from spikestrip.operations import Shape

_EXACT_INTEGERS = 1 << 24  # the last up to which float32 holds every integer


def read(path: str | os.PathLike[str], shape: Shape, event_step: int | None = None) -> np.ndarray:
    """Read an input for a program whose input step has ``shape``: see ``check`` for what is taken and returned.

    What needs no conversion stays in the file, mapped. A structured array is a recording of events, x, y, p, t, and
    becomes frames of steps of ``event_step`` (``events.frames``).
    """
    array = map_array(path)
    if events.is_events(array):
        array = events.frames(array, shape, event_step, Path(path))
    elif event_step is not None:
        raise BadInput("--event-step", f"is for files of events; {path} holds {array.dtype}")
    return check(array, shape, Path(path))


def check(x: np.ndarray, shape: Shape, where: object) -> np.ndarray:
    """``x`` as a run takes it, or BadInput that names the shape that it should have.

    Values: (B, T, *shape) or (B, T, prod(shape)), finite; float64 stays, every other type becomes float32 exactly.
    Token ids: (B, T, 1) integers from 0 to V - 1, where shape is (V,) and V > 1; they stay integers.
    """
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        raise BadInput(where, f"holds {x.dtype}, neither float32 values nor integer token ids")
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    tokens = is_tokens(x, shape)
    flat = (math.prod(shape),)
    if x.ndim < 3 or (not tokens and x.shape[2:] not in (tuple(shape), flat)):
        expected = f"(B, T, {', '.join(map(str, shape))})" + (" or ids (B, T, 1)" if _embeds(shape) else "")
        raise BadInput(where, f"has shape {x.shape}; the program takes {expected}")
    if x.size == 0:
        raise BadInput(where, f"is empty: shape {x.shape}; it needs at least one sample and one step")
    if tokens:
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= shape[0]:
            raise BadInput(where, f"holds token ids from {low} to {high}; the program knows 0 to {shape[0] - 1}")
        return x
    if x.dtype.kind in "iu" and (x.min() < -_EXACT_INTEGERS or x.max() > _EXACT_INTEGERS):
        raise BadInput(where, f"holds integers beyond {_EXACT_INTEGERS}, which float32 rounds")
    for samples in parts(len(x), x[0].nbytes):
        if not np.isfinite(x[samples]).all():
            raise BadInput(where, "holds NaN or infinity")
    return x if x.dtype == np.float64 else x.astype(np.float32, copy=False)


def is_tokens(x: np.ndarray, shape: Shape) -> bool:
    """True when ``x`` holds token ids for a program whose input step has ``shape``."""
    return x.dtype.kind in "iu" and _embeds(shape) and x.shape[2:] == (1,)


def expand(x: np.ndarray, shape: Shape) -> np.ndarray:
    """A checked input as (B, T, *shape): token ids become one-hot rows, float32."""
    if is_tokens(x, shape):
        hot: np.ndarray = x == np.arange(shape[0])
        return hot.astype(np.float32)
    return x.reshape(*x.shape[:2], *shape)


def _embeds(shape: Shape) -> bool:
    return len(shape) == 1 and shape[0] > 1
