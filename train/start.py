"""Where training begins: at the weights of a checkpoint, whose network must be the one that is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from spikestrip.errors import BadInput
from train.building import AnyConfig
from train.checkpoint import Checkpoint
from train.config import Config
from train.options import NetworkOptions

OWN = ("seed",)  # of the new run: it orders samples too
DROPOUT = ("dropout", "tie_dropout", "drop_spikes")  # of training alone: the network computes the same without


def adopt(start: Checkpoint, options: dict[str, Any], said: Collection[str]) -> dict[str, Any]:
    """The options that fix a network, as ``start`` has them; dropout as it was ``said``, if it was.

    Raises BadInput for any other that was ``said`` and is another.
    """
    stored = _ssm(start.network.config)
    names = [field.name for field in dataclasses.fields(NetworkOptions) if field.name not in OWN]
    held = {name: getattr(stored, name) for name in names}
    if stored.reset != "none":
        held["reset"] = stored.reset
    held |= {name: options[name] for name in DROPOUT if name in said}
    for name, value in held.items():
        if name in said and options[name] != value:
            raise BadInput("--start", f"its network has {name} {value!r}, and {options[name]!r} is asked for")
    return held


def check(start: Checkpoint, asked: AnyConfig) -> Config:
    """The config of the run: that of the stored network, computed as ``asked``.

    Raises BadInput where the data wants another one.
    """
    stored, asked = _ssm(start.network.config), _ssm(asked)
    for name in ("d_input", "d_output", "tokens", "readout"):
        if getattr(stored, name) != getattr(asked, name):
            raise BadInput(
                "--start", f"its network has {name} {getattr(stored, name)!r}, the task {getattr(asked, name)!r}"
            )
    ours = {name: getattr(asked, name) for name in ("parallel", "pmbc_iterations", *DROPOUT, *OWN)}
    return dataclasses.replace(stored, **ours)


def _ssm(config: AnyConfig) -> Config:
    if not isinstance(config, Config):
        raise BadInput("--start", "goes on from a spiking SSM to one; a network for a Speck is trained anew")
    return config
