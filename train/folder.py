"""The folder of a run: what was asked, how far it is, its logs and its checkpoint.

experiment.toml   every option, as given or by default
last.pt           the state after the last whole epoch, from which the run resumes; of several processes the list of
last.E.R.safetensors  what process R of them wrote of it after epoch E (``train.sharded``)
ckpt.pt           the checkpoint after it; when the run has ended, with its scores on the test split
epochs.csv        one row an epoch
curve.csv         one row for every few batches
tensorboard/      the same, for TensorBoard
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import tomli_w
import torch
from tensorboardX import SummaryWriter

from spikestrip.errors import BadInput
from spikestrip.files import Enduring, alone, atomic, read_toml, write_text
from train import logs, sharded
from train.loop import Progress
from train.ranks import ALONE, Ranks
from train.resuming import State

READ = (logs.EXPERIMENT, logs.STATE, logs.SHARDS)
"""What a run that resumes reads of its folder, as patterns."""
WRITTEN = (logs.STATE, logs.SHARDS, "ckpt.pt", logs.EPOCHS, logs.CURVE)
"""What it writes anew, or takes away, after every epoch."""


class RunFolder:
    """Made, or found again: the options must then be those it was made with, or BadInput names what differs."""

    def __init__(self, path: Path, options: dict[str, Any], ranks: Ranks = ALONE) -> None:
        self.path = path
        self.ranks = ranks
        if ranks.first:
            self._make(options)
        self.common = ranks.world > 1 and self._seen_by_all()

    def _make(self, options: dict[str, Any]) -> None:
        path, described = self.path, self.path / logs.EXPERIMENT
        if described.is_file():
            self._compare(described, options)
            return
        if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise BadInput(path, "is there and isn't the folder of a run (no experiment.toml)")
        path.mkdir(parents=True, exist_ok=True)
        write_text(described, tomli_w.dumps(options))

    def _seen_by_all(self) -> bool:
        """Whether every rank may write here: a folder of this path may be another one on another machine."""
        with tempfile.NamedTemporaryFile(prefix=".seen-", dir=self.path) if self.ranks.first else nullcontext() as sign:
            name = self.ranks.gather("" if sign is None else Path(sign.name).name)[0]
            return all(self.ranks.gather((self.path / name).exists() and os.access(self.path, os.W_OK)))

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the run writes: BadInput where another one does."""
        with alone(self.path) if self.ranks.first else nullcontext():
            yield

    @property
    def checkpoint(self) -> Path:
        return self.path / "ckpt.pt"

    def state(self) -> State | None:
        """What the run resumes from; None before its first epoch has ended. Raises BadInput when it is damaged."""
        path = self.path / logs.STATE
        return State.read(path) if path.is_file() else None

    def save(self, progress: Progress, state: dict[str, Any]) -> None:
        """Keep the state after an epoch; the logs follow from it, so that they never tell of a lost epoch.

        Every rank calls it. In a folder that all see each writes its share, else the first one writes all.
        """
        epoch = progress.epochs[-1]["epoch"]
        shards: dict[str, str] = {}
        if self.common:
            mine = sharded.write(self.path, epoch, state, self.ranks.rank, self.ranks.world)
            for written in self.ranks.gather(mine):  # so that they are all there before any list of them
                shards |= written
            state = {"progress": state["progress"], "operations": state["operations"], "shards": shards}
        if not self.ranks.first:
            return
        with atomic(self.path / logs.STATE) as temporary, Enduring(temporary) as file:
            torch.save(state, file)
        sharded.remove(self.path, but=shards)
        logs.write(self.path / logs.EPOCHS, progress.epochs)
        logs.write(self.path / logs.CURVE, progress.curve)
        points = [point for point in progress.curve if point["epoch"] == epoch]
        # purge_step: what a killed run had already told of this epoch
        told, first = str(self.path / "tensorboard"), points[0]["step"]
        with SummaryWriter(told, purge_step=first, filename_suffix=f".{epoch}") as writer:
            for point in points:
                for name in ("loss", "accuracy", "spiking_rate"):
                    writer.add_scalar(f"train/{name}", point[name], point["step"])
            for name, value in progress.epochs[-1].items():
                if isinstance(value, float):
                    writer.add_scalar(f"epoch/{name}", value, points[-1]["step"])

    @staticmethod
    def _compare(described: Path, asked: dict[str, Any]) -> None:
        before = read_toml(described)
        differ = sorted(name for name in before.keys() | asked.keys() if before.get(name) != asked.get(name))
        if differ:
            changes = "; ".join(f"{name} was {before.get(name)!r}, now {asked.get(name)!r}" for name in differ)
            raise BadInput(described, f"this folder's run had other options: {changes}")
