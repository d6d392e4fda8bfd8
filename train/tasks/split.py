"""What a task is: sequences and labels, in splits."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Inputs (B, T, C) float32, or token ids (B, T, 1) of any integer type, and labels int64: (B,), a class each.

    The labels of a language model are (B, T) integers: the id that follows each of the inputs.
    """

    inputs: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set as sequences.

    channels: C, or the vocabulary of a token task.
    image: (height, width) where the T steps are the pixels of an image, row by row; else None.
    maps: (channels, height, width) where the C numbers of a step are an image, or frames of events; else None.
    readout: what is predicted: one class from the mean over a sequence, or a class at every step of it.
    validation: where the data set has one of its own; otherwise it is taken from ``train``, with ``hold_out``.
    """

    name: str
    train: Split
    test: Split
    classes: int
    channels: int
    tokens: bool = False
    image: tuple[int, int] | None = None
    maps: tuple[int, int, int] | None = None
    validation: Split | None = None
    readout: Literal["mean", "sequence"] = "mean"


def hold_out(inputs: np.ndarray, labels: np.ndarray, share: float, seed: int) -> tuple[Split, Split]:
    """Two splits: (1 - share) and ``share`` of every class, drawn with ``seed``, each in the order of the data.

    Sequences of a language model, whose ``labels`` are (B, T), are of one class.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    classes = labels if labels.ndim == 1 else np.zeros(len(labels))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        held[rng.permutation(members)[: round(share * len(members))]] = True
    return Split(inputs[~held], labels[~held]), Split(inputs[held], labels[held])
