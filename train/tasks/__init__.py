"""Tasks: real data as sequences, by name. Every task keeps a test set apart and takes validation from training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Split:
    """Inputs (B, T, C) float32, or token ids (B, T, 1) integers, and their labels (B,) int64."""

    inputs: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set as sequences. ``channels``: C, or the vocabulary of a token task."""

    name: str
    train: Split
    test: Split
    classes: int
    channels: int
    tokens: bool = False


# name -> module with load(data_dir) -> Task
TASKS = {
    "digits": "train.tasks.digits",
    "mnist5k": "train.tasks.mnist5k",
}


def load(name: str, data_dir: Path | None = None) -> Task:
    """The task called ``name``. Raises BadInput when there is no such task, or when its data can't be had."""
    if name not in TASKS:
        raise BadInput("--task", f"{name!r} is not one of {', '.join(TASKS)}")
    loader: Callable[[Path | None], Task] = import_module(TASKS[name]).load
    return loader(data_dir)


def hold_out(inputs: np.ndarray, labels: np.ndarray, share: float, seed: int) -> tuple[Split, Split]:
    """Two splits: (1 - share) and ``share`` of every class, drawn with ``seed``, each in the order of the data."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[rng.permutation(members)[: round(share * len(members))]] = True
    return Split(inputs[~held], labels[~held]), Split(inputs[held], labels[held])
