"""Where training begins: at the weights of a checkpoint, whose network must be the one that is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from spikestrip.errors import BadInput
from train.building import AnyConfig, AnyNetwork
from train.checkpoint import Checkpoint
from train.config import Config
from train.options import NetworkOptions

OWN = ("seed",)  # of the new run: it orders samples too
HEAD = ("d_output", "readout")  # what a head is made for
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


def check(start: Checkpoint, asked: AnyConfig, *, new_head: bool = False) -> Config:
    """The config of the run: that of the stored network, computed as ``asked``, with a ``new_head`` read as ``asked``.

    Raises BadInput where the data wants another one.
    """
    stored, asked = _ssm(start.network.config), _ssm(asked)
    for name in ("d_input", "tokens", *(() if new_head else HEAD)):
        if getattr(stored, name) != getattr(asked, name):
            raise BadInput(
                "--start", f"its network has {name} {getattr(stored, name)!r}, the task {getattr(asked, name)!r}"
            )
    ours = {name: getattr(asked, name) for name in ("parallel", "pmbc_iterations", *HEAD, *DROPOUT, *OWN)}
    return dataclasses.replace(stored, **ours)


def fill(network: AnyNetwork, start: Checkpoint, *, new_head: bool = False) -> None:
    """Give ``network`` the weights of ``start``, in place; a ``new_head`` keeps its own."""
    weights = start.network.state_dict()
    if new_head:
        weights |= {name: weight for name, weight in network.state_dict().items() if name.startswith("head.")}
    network.load_state_dict(weights)
    if start.network.sdn is not None:
        network.set_surrogate(start.network.sdn)


def _ssm(config: AnyConfig) -> Config:
    if not isinstance(config, Config):
        raise BadInput("--start", "goes on from a spiking SSM to one; a network for a Speck is trained anew")
    return config
