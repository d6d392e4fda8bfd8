"""The state after an epoch, read back and checked: what a run resumes from may be damaged, or another network's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikestrip import schema
from spikestrip.errors import BadInput
from spikestrip.files import check_text, parsing
from train import sharded
from train.loop import Progress
from train.stored import exact, load_zip

FORM = {
    "epochs": [{"epoch": int, "method": str, "seconds": float}],
    "curve": [{"step": int, "epoch": int}],
    "drawn": int,
}
"""Of its progress; the other columns are numbers, or null."""


@dataclasses.dataclass(frozen=True)
class State:
    """What ``train.loop`` gave to ``after_epoch``, as ``file`` or its shards hold it: network, optimizer, progress.

    operations: threads of torch's own operations, which fix last bits; None where they weren't kept.
    """

    file: Path
    network: dict[str, Tensor]
    moments: dict[int, dict[str, Tensor]]
    progress: Progress
    operations: int | None = None

    @classmethod
    def read(cls, file: Path) -> State:
        """Raises BadInput for what is damaged, would run code, or is no such state."""
        with parsing(file, "can't be resumed from"):
            held = load_zip(file)
            progress = held["progress"]
        schema.check(file, progress, FORM)
        check_text(file, progress)
        for name in ("epochs", "curve"):
            rows = progress[name]
            for row in rows:
                if row.keys() != rows[0].keys():
                    raise BadInput(file, f"progress.{name} has rows of other columns than its first")
                schema.check(file, {key: row[key] for key in row if key != "method"}, {str: float}, f"progress.{name}")
        if [row["epoch"] for row in progress["epochs"]] != list(range(1, len(progress["epochs"]) + 1)):
            raise BadInput(file, "progress.epochs aren't numbered from 1 on")
        if progress["drawn"] < 0 or any(row["seconds"] < 0 for row in progress["epochs"]):
            raise BadInput(file, "progress has a time or a number of sequences below 0")
        operations = held.get("operations")
        if operations is not None:
            schema.check(file, operations, int, "operations")
            if operations < 1:
                raise BadInput(file, f"operations is {operations}, no number of threads")
        if "shards" in held:
            schema.check(file, held["shards"], {str: str}, "shards")
            network, moments = sharded.read(file, held["shards"], len(progress["epochs"]))
        else:
            with parsing(file, "can't be resumed from"):
                network, moments = held["network"], held["optimizer"]["state"]
        if not isinstance(network, dict) or not isinstance(moments, dict):
            raise BadInput(file, "can't be resumed from: its network or its optimizer's state is no dictionary")
        reached = Progress(progress["epochs"], progress["curve"], progress["drawn"])
        return cls(file, network, moments, reached, operations)

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Put both, made anew, to where they were, and return how far that was.

        Only what training changes comes from the file: rates and decays are the recipe's. Raises BadInput for what is
        of another network, isn't finite, or isn't whole.
        """
        mine = network.state_dict()
        _check(self.file, "network", self.network, {name: value.shape for name, value in mine.items()})
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if not set(self.moments) <= set(range(len(parameters))):
            raise BadInput(self.file, f"optimizer.state is of others than the {len(parameters)} parameters there are")
        moments = {}
        for number, held in self.moments.items():
            whole = parameters[number].shape
            shapes = {"step": torch.Size(()), "exp_avg": whole, "exp_avg_sq": whole}
            _check(self.file, f"optimizer.state.{number}", held, shapes)
            moments[number] = exact(self.file, held, dict.fromkeys(held, parameters[number].dtype))
            if float(held["step"]) < 1 or bool((held["exp_avg_sq"] < 0).any()):
                raise BadInput(self.file, f"optimizer.state.{number} holds a step below 1, or a square below 0")
        network.load_state_dict(exact(self.file, self.network, {name: value.dtype for name, value in mine.items()}))
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return self.progress


def _check(file: Path, part: str, held: Any, shapes: dict[str, torch.Size]) -> None:
    """Raise BadInput unless ``held`` are real tensors of these names and shapes."""
    if not isinstance(held, dict) or held.keys() != shapes.keys():
        raise BadInput(file, f"{part} has other parts than {', '.join(list(shapes)[:5])}")
    for name, shape in shapes.items():
        if not isinstance(held[name], Tensor) or held[name].shape != shape:
            raise BadInput(file, f"{part}.{name} is no tensor of shape {tuple(shape)}")
