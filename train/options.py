"""What training can be told, each option once: its name, type, default and help.

The command line, an experiment's TOML, a checkpoint's config and a recipe are made of these fields. One that takes some
words is a Literal; its metadata hold the help, and what its command-line option needs beside name, type and default.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from spikestrip.command import MOST, Finite

Mix = Literal["linear", "glu"]
Model = Literal["pspikessm", "spikessm", "spikingssm"]
Norm = Literal["batch", "layer", "none"]

COUNT = click.IntRange(1, MOST)


def option(default: Any, says: str, *names: str, **settings: Any) -> Any:
    """A dataclass field with its help; ``names`` and ``settings`` as click.option has them, where they aren't plain."""
    return dataclasses.field(default=default, metadata={"help": says, "names": names, "click": settings})


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The part of a network's config that a user chooses (train.config has the rest)."""

    model: Model = option("spikingssm", "Whose neuron and block.")
    d_model: int = option(64, "H, channels of the residual stream.", type=COUNT)
    d_state: int = option(32, "N, complex modes of each channel's SSM.", type=COUNT)
    layers: int = option(2, "K, blocks.", type=COUNT)
    mix: Mix = option("linear", "How spikes mix over channels.")
    norm: Norm = option("batch", "Norm of every block.")
    prenorm: bool = option(False, "Normalise a block's input rather than its output.")
    tau: float = option(0.125, "Decay of the membrane potential.")
    gain: float = option(1.0, "Where the gain of pspikessm's samplers starts.", type=Finite(0, min_open=True))
    learn_threshold: bool = option(True, "One threshold a neuron, or 1 for all.", "--learn-threshold/--fixed-threshold")
    dropout: float = option(0.0, "On each block's mix.")
    tie_dropout: bool = option(False, "One dropout mask for all steps of a sequence and channel.")
    drop_spikes: bool = option(False, "The same dropout on the spikes, before they are mixed.")
    seed: int = option(0, "Of weights, sample order, random spikes.", type=click.IntRange(0, 2**32 - 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The part of a recipe that a user chooses (train.recipe has the rest)."""

    batch: int = option(50, "Sequences a step, of all processes together.", type=COUNT)
    lr: float = option(0.01, "Peak learning rate.", type=Finite(0, min_open=True))
    ssm_lr: float = option(0.001, "The same of dt, A and B.", type=Finite(0, min_open=True))
    weight_decay: float = option(0.01, "Of matrices but for the SSM's.", type=Finite(0))
    warmup: float = option(0.1, "Share of training in which the rate rises.", type=Finite(0, 1))
    target_rate: float | None = option(None, "Penalise layers that spike more than this share.", type=Finite(0, 1))
    margin: float | None = option(
        None,
        "Penalise decisions that lie within this width of the threshold, in thresholds.",
        type=Finite(0, min_open=True),
    )
    validation: float = option(
        0.0,
        "Share of the training split to validate on after every epoch, unless the task brings a validation split.",
        type=Finite(0, 1, max_open=True),
    )
    label_smoothing: float = option(
        0.0, "Share of the target that all classes get alike.", type=Finite(0, 1, max_open=True)
    )
    shift: int = option(
        0,
        "Images: move each training image by up to so many pixels, anew in every epoch.",
        type=click.IntRange(0, MOST),
    )
    minutes: float | None = option(
        None,
        "End training after this wall-clock time: the learning rate comes down in time. "
        "Such a run can't be repeated to the bit.",
        type=Finite(0, min_open=True),
    )


def click_options(described: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command one option for each field of the dataclass ``described``, its own ones first."""
    fields = dataclasses.fields(described)
    own = [field for field in fields if field.name in described.__annotations__]
    hints = typing.get_type_hints(described)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed([*own, *[field for field in fields if field not in own]]):
            plain = not field.metadata["names"]
            names = (f"--{field.name.replace('_', '-')}",) if plain else field.metadata["names"]
            settings: dict[str, Any] = {"type": _type(hints[field.name]), "help": field.metadata["help"]}
            if field.default is not None:
                settings["default"] = field.default
            if plain and hints[field.name] is bool:
                settings["is_flag"] = True
            command = click.option(*names, **settings | dict(field.metadata["click"]))(command)
        return command

    return decorate


def _type(hint: Any) -> Any:
    """What click makes of a field's type."""
    if typing.get_origin(hint) is Literal:
        return click.Choice(typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return _type(hint)
    return {Path: click.Path(path_type=Path), float: Finite()}.get(hint, hint)
