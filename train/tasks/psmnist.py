"""Permuted sequential MNIST: ``smnist`` with its 784 pixels in one fixed random order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from train.tasks import Split, Task, smnist


def permutation() -> np.ndarray:
    """(784,): step t shows pixel permutation()[t]. The stream of RandomState is frozen, whatever numpy's version."""
    return np.random.RandomState(92916).permutation(784)


def load(data_dir: Path | None = None) -> Task:
    """As ``smnist``, every image in the same order: ``permutation()``, whose seed is 92916, as in other work."""
    task = smnist.load(data_dir)
    order = permutation()
    train, test = (Split(split.inputs[:, order], split.labels) for split in (task.train, task.test))
    return dataclasses.replace(task, name="psmnist", train=train, test=test, image=None)
