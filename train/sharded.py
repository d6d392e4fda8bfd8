"""The state of a run in shards: each process writes its share of the tensors, and none writes them all.

A tensor is given whole to one process, by size, so that all write about as much. ``last.EPOCH.RANK.safetensors`` holds
what process RANK was given, under the names ``network.NAME`` and ``optimizer.NUMBER.PART``. ``last.pt`` lists the files
of its epoch by name and hash: what it doesn't list is of another epoch, or of one that was never finished.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from spikestrip.errors import BadInput
from spikestrip.files import atomic, parsing
from train.logs import SHARDS

NAME = re.compile(r"last\.(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,8})\.safetensors")
"""Of a shard: its epoch and its rank."""
MOMENT = re.compile(r"optimizer\.(0|[1-9][0-9]{0,8})\.(\w+)")
"""A tensor of the optimizer: its parameter's number and its part."""

Moments = dict[int, dict[str, Tensor]]
"""The optimizer's tensors, by the number of their parameter and their part."""


def write(folder: Path, epoch: int, state: Mapping[str, Any], rank: int, world: int) -> dict[str, str]:
    """Write what rank ``rank`` of ``world`` is given of ``state``, which every rank holds whole.

    state: ``network`` and ``optimizer``, as their ``state_dict``s. Returns the file's name with its hash (SHA-256 in
    hex digits); {} for a rank that is given nothing. Raises BadInput where it can't be written.
    """
    tensors = {f"network.{name}": value for name, value in state["network"].items()}
    for number, parts in state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{number}.{part}": value for part, value in parts.items()}
    mine = shares({name: value.nbytes for name, value in tensors.items()}, world)[rank]
    if not mine:
        return {}
    # clones: safetensors takes no two that share memory
    plain = {name: tensors[name].cpu().clone(memory_format=torch.contiguous_format) for name in mine}
    data, file = safetensors.torch.save(plain), folder / f"last.{epoch}.{rank}.safetensors"
    with atomic(file) as temporary:
        temporary.write_bytes(data)
    return {file.name: hashlib.sha256(data).hexdigest()}


def shares(sizes: Mapping[str, int], world: int) -> list[list[str]]:
    """The names that each of ``world`` ranks is given: the largest first, to the rank that has the fewest bytes."""
    given: list[list[str]] = [[] for _ in range(world)]
    loads = [0] * world
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = loads.index(min(loads))
        given[least].append(name)
        loads[least] += sizes[name]
    return given


def read(index: Path, shards: Mapping[str, str], epoch: int) -> tuple[dict[str, Tensor], Moments]:
    """The tensors of the network and of the optimizer that the ``shards`` of ``index`` hold together.

    Raises BadInput naming the file that lacks, is damaged, isn't a shard of this epoch, or holds other tensors.
    """
    network: dict[str, Tensor] = {}
    moments: Moments = {}
    for name, sha256 in shards.items():
        named = NAME.fullmatch(str(name))  # a list that was unpickled may name a number
        if named is None or int(named[1]) != epoch:
            raise BadInput(index, f"lists {name!r}, which is no shard of its epoch {epoch}")
        file = index.with_name(name)
        if not file.is_file():
            raise BadInput(file, f"no such file, and {index.name} lists it: the run can't go on from this epoch")
        with parsing(file, "is no shard of a training"):
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != sha256:
                raise BadInput(file, f"is damaged: it doesn't have the hash that {index.name} states")
            tensors = safetensors.torch.load_file(file)
        for key, value in tensors.items():
            moment = MOMENT.fullmatch(key)
            if key.startswith("network."):
                held, part = network, key.removeprefix("network.")
            elif moment is not None:
                held, part = moments.setdefault(int(moment[1]), {}), moment[2]
            else:
                raise BadInput(file, f"holds {key!r}, which is no tensor of a training")
            if part in held:
                raise BadInput(file, f"holds {key!r}, as another shard does")
            held[part] = value
    return network, moments


def remove(folder: Path, but: Iterable[str] = ()) -> None:
    """Take away every shard in ``folder`` other than those named."""
    kept = set(but)
    for file in folder.glob(SHARDS):
        if NAME.fullmatch(file.name) and file.name not in kept:
            file.unlink()
