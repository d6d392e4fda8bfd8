"""An experiment: all that ``train/run.py`` is asked for, on its command line or in a TOML file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikestrip.errors import BadInput
from spikestrip.files import existing

if TYPE_CHECKING:
    from train.config import Config
    from train.recipe import Recipe
    from train.tasks import Task

RESET_OF = {"spikingssm": "hard", "spikessm": "refractory", "pspikessm": "none"}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The options of ``train/run.py`` that decide the result; its ``--help`` says what each is."""

    task: str
    length: int | None
    model: str
    parallel: str | None
    pmbc_iterations: int | None
    sdn: Path | None
    d_model: int
    d_state: int
    layers: int
    mix: str
    norm: str
    prenorm: bool
    reset: str | None
    tau: float
    learn_threshold: bool
    dropout: float
    tie_dropout: bool
    drop_spikes: bool
    epochs: int
    batch: int
    lr: float
    ssm_lr: float
    weight_decay: float
    warmup: float
    target_rate: float | None
    validation: float
    train_samples: int | None
    label_smoothing: float
    minutes: float | None
    seed: int
    device: str

    def config(self, data: Task) -> Config:
        """The network for ``data``. Raises BadInput for a combination that no network has."""
        from train.config import Config

        return Config.parse({
            "d_input": data.channels, "d_output": data.classes, "tokens": data.tokens, "readout": data.readout,
            "d_model": self.d_model, "d_state": self.d_state, "layers": self.layers, "model": self.model,
            "mix": self.mix, "norm": self.norm, "prenorm": self.prenorm, "reset": self.reset or RESET_OF[self.model],
            "tau": self.tau, "learn_threshold": self.learn_threshold, "dropout": self.dropout,
            "tie_dropout": self.tie_dropout, "drop_spikes": self.drop_spikes, "seed": self.seed,
            "parallel": self.recipe().schedule[-1][0], "pmbc_iterations": self.pmbc_iterations or 0,
        })  # fmt: skip

    def recipe(self) -> Recipe:
        """How to train it."""
        from train.neurons.methods import default_method
        from train.recipe import Recipe

        return Recipe(
            parse_schedule(self.parallel or default_method(self.device), self.epochs),
            batch=self.batch, lr=self.lr, ssm_lr=self.ssm_lr, weight_decay=self.weight_decay, warmup=self.warmup,
            target_rate=self.target_rate, validation=self.validation, train_samples=self.train_samples or 0,
            seed=self.seed, label_smoothing=self.label_smoothing, minutes=self.minutes,
        )  # fmt: skip

    def described(self) -> dict[str, Any]:
        """The options as TOML can say them: those that are None left out."""
        values = dataclasses.asdict(self).items()
        return {name: str(value) if isinstance(value, Path) else value for name, value in values if value is not None}


def read(path: Path) -> dict[str, Any]:
    """The options in an experiment's TOML file. Raises BadInput for what isn't TOML, or isn't an option."""
    try:
        values = tomllib.loads(existing(path).read_text())
    except (OSError, ValueError) as error:
        raise BadInput(path, f"can't be read as TOML: {error}") from error
    unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(Experiment)})
    if unknown:
        raise BadInput(path, f"has options that training doesn't have: {', '.join(unknown)}")
    return values


def parse_schedule(text: str, epochs: int) -> tuple[tuple[str, int], ...]:
    """``"scan"`` for all epochs, or ``"scan:8,sdn:2"``, whose numbers add up to ``epochs``."""
    from train.neurons.methods import METHODS

    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"([a-z]+)(?::(\d+))?", part.strip())
        if match is None or match[1] not in METHODS:
            raise BadInput("--parallel", f"{part!r} is not one of {', '.join(METHODS)}, or METHOD:EPOCHS of them")
        parts.append((match[1], None if match[2] is None else int(match[2])))
    if len(parts) == 1 and parts[0][1] is None:
        return ((parts[0][0], epochs),)
    if any(count is None for _, count in parts) or sum(count or 0 for _, count in parts) != epochs:
        raise BadInput("--parallel", f"the epochs of {text!r} don't add up to --epochs {epochs}")
    return tuple((method, count or 0) for method, count in parts)
