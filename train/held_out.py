"""The held-out sequences of the task that a checkpoint was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from train import tasks
from train.checkpoint import Checkpoint
from train.tasks import Split


def held_out(checkpoint: Checkpoint, source: object, samples: int | None = None, data_dir: Path | None = None) -> Split:
    """The test split, as long as the network was trained on it; or ``samples`` sequences of it, drawn with seed 0.

    Raises BadInput, naming ``source``, for a checkpoint of no known task, and for more samples than there are.
    """
    name, steps = checkpoint.task.get("name"), checkpoint.task.get("steps")
    if name not in tasks.TASKS:
        raise BadInput(source, f"its task is {name!r}, none of {', '.join(tasks.TASKS)}")
    test = tasks.load(name, data_dir, steps if tasks.TASKS[name] is None else None).test
    if samples is None:
        return test
    if samples > len(test.labels):
        raise BadInput("--samples", f"is {samples}; {name} holds out {len(test.labels)}")
    chosen = np.random.default_rng(0).permutation(len(test.labels))[:samples]
    return Split(test.inputs[chosen], test.labels[chosen])
