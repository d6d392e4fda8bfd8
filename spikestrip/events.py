"""Event files (x, y, p, t) as frames: what a step of a program receives."""

from __future__ import annotations

import math

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations import Shape

FIELDS = ("x", "y", "p", "t")
MAX_BYTES = 8 << 30


def is_events(array: np.ndarray) -> bool:
    """True for a structured array, which holds events if it holds anything that we know."""
    return array.dtype.names is not None


def frames(events: np.ndarray, shape: Shape, step: int | None, where: object) -> np.ndarray:
    """One recording as an input (1, T, 2, H, W) float32: how many events each place and polarity had in each step.

    events: (n,) structured, integers: x, y the column and row, p the polarity (0 or 1), t the time since the recording
    began. shape: (2, H, W), the sensor's, from the program. step: the length of a step, in the unit of t; step number
    floor(t / step) receives the event, and T is the last one's number plus 1.
    Raises BadInput, naming the field, where one of this doesn't hold: nothing is cropped, resized or guessed.
    """
    missing = [name for name in FIELDS if name not in (events.dtype.names or ())]
    if missing or events.ndim != 1:
        raise BadInput(where, f"holds {events.dtype} of shape {events.shape}, not one row of events x, y, p, t")
    if len(shape) != 3 or shape[0] != 2:
        raise BadInput(where, f"holds events of two polarities; the program takes {shape}, not (2, height, width)")
    if step is None:
        raise BadInput(where, "holds events: give --event-step, the length of a step in the unit of their t")
    if step < 1:
        raise BadInput("--event-step", f"is {step}, not a number of at least 1")
    if events.size == 0:
        raise BadInput(where, "holds no event")
    limits = {"x": shape[2], "y": shape[1], "p": 2, "t": None}
    for name, limit in limits.items():
        values = events[name]
        if values.dtype.kind not in "biu" or values.ndim != 1:
            raise BadInput(where, f"its {name} are {values.dtype}, not integers")
        low, high = int(values.min()), int(values.max())
        if low < 0 or (limit is not None and high >= limit):
            to = "" if limit is None else f" to {limit - 1}"
            raise BadInput(where, f"its {name} go from {low} to {high}, not from 0{to}")
    at = events["t"].astype(np.uint64) // np.uint64(step)
    steps = int(at.max()) + 1
    if (size := 4 * steps * math.prod(shape)) > MAX_BYTES:
        raise BadInput(where, f"makes {steps} steps ({size} bytes of frames): is its t counted from its own beginning?")
    x, y, p = (events[name].astype(np.int64) for name in ("x", "y", "p"))
    places = np.ravel_multi_index((at.astype(np.int64), p, y, x), (steps, *shape))
    counts = np.bincount(places, minlength=steps * math.prod(shape))
    return counts.astype(np.float32).reshape(1, steps, *shape)
