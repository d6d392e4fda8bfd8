"""Checkpoints of the papers' own code, as ours: docs/importing.md has the tables and what each is taken from."""

from train.importing.facts import SIDECAR
from train.importing.papers import load

__all__ = ["SIDECAR", "load"]
