"""Tasks: real data as sequences, by name. Every task keeps a test set apart: the official one where there is one."""

from train.tasks.split import Split, Task, hold_out
from train.tasks.table import TASKS, load

__all__ = ["TASKS", "Split", "Task", "hold_out", "load"]
