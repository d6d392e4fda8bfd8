"""The task that a checkpoint was trained on, and its held-out sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from train import tasks
from train.checkpoint import Checkpoint
from train.tasks import Split, Task


def task_of(checkpoint: Checkpoint, source: object, data_dir: Path | None = None) -> Task:
    """What the network was trained on, as long as it was there.

    Raises BadInput, naming ``source``, for a checkpoint of no known task.
    """
    name, steps = checkpoint.task.get("name"), checkpoint.task.get("steps")
    if name not in tasks.TASKS:
        raise BadInput(source, f"its task is {name!r}, none of {', '.join(tasks.TASKS)}")
    return tasks.load(name, data_dir, steps if tasks.TASKS[name] is None else None)


def held_out(checkpoint: Checkpoint, source: object, samples: int | None = None, data_dir: Path | None = None) -> Split:
    """The test split of ``task_of``, or ``samples`` sequences of it, drawn with seed 0.

    Raises BadInput, also for more samples than there are.
    """
    test = task_of(checkpoint, source, data_dir).test
    if samples is None:
        return test
    if samples > len(test.labels):
        raise BadInput("--samples", f"is {samples}; {checkpoint.task['name']} holds out {len(test.labels)}")
    chosen = np.random.default_rng(0).permutation(len(test.labels))[:samples]
    return Split(test.inputs[chosen], test.labels[chosen])
