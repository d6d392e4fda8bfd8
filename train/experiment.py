"""An experiment: all that ``train/run.py`` is asked for, on its command line or in a TOML file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from spikestrip.command import MOST
from spikestrip.errors import BadInput
from spikestrip.files import read_toml
from train.options import COUNT, NetworkOptions, TrainingOptions, option

if TYPE_CHECKING:
    from train.building import AnyConfig
    from train.recipe import Recipe
    from train.speck import SpeckConfig
    from train.tasks import Task

WIDTHS = "8,16"
LINE = 16  # channels whose float32 fill a cache line: of other widths the fused kernel's lanes stand idle


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(TrainingOptions, NetworkOptions):
    """The options of ``train/run.py`` that decide the result: these, and those of the network and of its training."""

    task: str = option("mnist5k", "Data set (docs/tasks.md); an unknown name lists them.")
    profile: Literal["speck"] | None = option(
        None,
        "In the place of a spiking SSM: what a chip's cores can hold, convolutions and integrate-and-fire neurons "
        "(docs/speck.md). Takes numbers of events.",
    )
    widths: str | None = option(
        None, f"Channels of every layer of a profile but the last, with commas. Default: {WIDTHS}."
    )
    length: int | None = option(None, "Steps of a sequence, for tasks that leave it open.", type=COUNT)
    parallel: str | None = option(
        None,
        "How spikes are computed in parallel: scan, fused, block, sdn, pmbc, bptt; or a schedule such as scan:8,sdn:2. "
        f"Default: the fastest exact one: fused on the CPU where --d-model is a multiple of {LINE}, else scan; "
        "on a GPU scan or block.",
    )
    pmbc_iterations: int | None = option(
        None,
        "Stop pmbc after M iterations, as the paper does, and say how many spikes that misses. "
        "Default: until the bounds meet.",
        type=COUNT,
    )
    sdn: Path | None = option(
        None,
        "Weights of the surrogate for sdn: train/sdn.py's, or official ones. "
        "Default: those shipped, for tau 0.125 and hard reset.",
    )
    start: Path | None = option(None, "Begin with this checkpoint's network and weights, not with new ones.")
    new_head: bool = option(
        False, "Of --start, take the encoder and the blocks alone: for another task, with other answers."
    )
    quantize: Literal["loihi2"] | None = option(
        None, "Train through a chip's integers, whose scales --start carries (quantize --scaled writes it)."
    )
    reset: Literal["hard", "soft", "refractory"] | None = option(None, "Default: what the model's paper has.")
    epochs: int = option(10, "0 writes the network as it is initialised.", type=click.IntRange(0, MOST))
    train_samples: int | None = option(None, "Train on a random subset of this many sequences.", type=COUNT)
    device: str = option("cpu", "cpu or cuda.")

    def config(self, data: Task) -> AnyConfig:
        """The network for ``data``. Raises BadInput for a combination that no network has."""
        from train.config import RESETS, Config

        if self.new_head and self.start is None:
            raise BadInput("--new-head", "takes the rest of the network from --start, which isn't given")
        if self.profile == "speck":
            return self._speck(data)
        if self.widths is not None:
            raise BadInput("--widths", "is for --profile speck; --d-model and --layers say a spiking SSM's")
        return Config.parse(self._chosen(NetworkOptions) | {
            "d_input": data.channels, "d_output": data.classes, "tokens": data.tokens, "readout": data.readout,
            "reset": self.reset or RESETS[self.model][0], "parallel": self.recipe().schedule[-1][0],
            "pmbc_iterations": self.pmbc_iterations or 0,
        })  # fmt: skip

    def recipe(self) -> Recipe:
        """How to train it."""
        from train.recipe import Recipe

        if self.quantize is not None:
            self._check_quantize()
        schedule = parse_schedule(self.parallel or self._fastest(), self.epochs)
        chosen = self._chosen(TrainingOptions)
        if self.profile == "speck" and self.target_rate is None:
            from train.speck import TARGET_RATE

            chosen["target_rate"] = TARGET_RATE
        return Recipe(schedule, train_samples=self.train_samples or 0, seed=self.seed, **chosen)

    def _fastest(self) -> str:
        """The fastest exact form that computes what is asked for."""
        from train.neurons.methods import default_method

        others = self.profile or self.quantize or self.margin is not None or self.model == "pspikessm"
        fused = self.device == "cpu" and self.d_model % LINE == 0 and not others
        return "fused" if fused else default_method(self.device)

    def _speck(self, data: Task) -> SpeckConfig:
        from train.speck import SpeckConfig, check_events

        others = [field for field in dataclasses.fields(NetworkOptions) if field.name != "seed"]
        others += [field for field in dataclasses.fields(self) if field.name in ("reset", "pmbc_iterations", "sdn")]
        for field in others:
            if getattr(self, field.name) != field.default:
                raise BadInput(f"--{field.name.replace('_', '-')}", "is for spiking SSMs; --profile speck has --widths")
        if data.readout == "sequence":
            raise BadInput("--task", f"{data.name} wants an answer in every step, and a Speck's is a count of spikes")
        if not data.tokens:
            check_events(data.train.inputs, data.name)
        widths = self.widths or WIDTHS
        if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", widths):
            raise BadInput("--widths", f"is {widths!r}, not numbers of channels with commas")
        return SpeckConfig(
            data.maps or (data.channels,), data.classes, tuple(map(int, widths.split(","))), tokens=data.tokens,
            parallel=self.recipe().schedule[-1][0],
        )  # fmt: skip

    def _check_quantize(self) -> None:
        """Raise BadInput for what training through integers doesn't do, rather than leave it out."""
        if self.start is None:
            raise BadInput("--quantize", "fine-tunes a trained network: give its checkpoint as --start")
        if self.parallel not in (None, "scan") or self.sdn is not None:
            raise BadInput("--quantize", "computes spikes in integers: no other --parallel than scan, no --sdn")
        if self.new_head:
            raise BadInput("--quantize", "trains by the scales of the whole network, its head too: no --new-head")
        if self.margin is not None or self.dropout or self.device != "cpu":
            raise BadInput("--quantize", "has no --margin and no --dropout, and runs on the CPU")

    def _chosen(self, part: type) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(part)}

    def described(self) -> dict[str, Any]:
        """The options as TOML can say them: those that are None left out."""
        values = dataclasses.asdict(self).items()
        return {name: str(value) if isinstance(value, Path) else value for name, value in values if value is not None}


def read(path: Path) -> dict[str, Any]:
    """The options in an experiment's TOML file. Raises BadInput for what isn't TOML, or isn't an option."""
    values = read_toml(path)
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
