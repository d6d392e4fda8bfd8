"""Byte language model: predict the next byte of the IMDB reviews. Its measure is bits per byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from train.tasks import Split, Task, imdb

END = b"\0"  # after every review


def load(data_dir: Path | None = None, length: int = 1024) -> Task:
    """Windows of ``length`` bytes; train and test text are those of the official train and test reviews."""
    train, test = (
        windows(np.frombuffer(b"".join(row.text + END for row in rows), np.uint8), length)
        for rows in imdb.reviews("bytes", data_dir)
    )
    return Task("bytes", train, test, classes=256, channels=256, tokens=True, readout="sequence")


def windows(text: np.ndarray, length: int) -> Split:
    """``text`` (N,) uint8 cut into windows that don't overlap; what doesn't fill the last is left out.

    Inputs (B, length, 1) and labels (B, length), the byte after each: both are views of ``text``.
    """
    count = (len(text) - 1) // length
    if count < 1:
        raise BadInput("--length", f"{length} is too long for a text of {len(text)} bytes")
    used = count * length
    return Split(text[:used].reshape(count, length, 1), text[1 : used + 1].reshape(count, length))
