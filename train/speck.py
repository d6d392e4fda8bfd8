"""A network that a Speck's cores can hold: bias-free convolutions, integrate-and-fire neurons, sum pooling.

Each layer of weights is followed by neurons that keep all of their potential and fire once a step (threshold 1,
decay 1, soft reset); between two layers of maps spikes are summed over 2 x 2 places. The answer is the class whose
neuron fired most often. Every layer reads spikes and sends spikes, so that each is one core (docs/speck.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikestrip.errors import BadInput, Refused
from train.neurons.methods import spikes
from train.neurons.neuron import Neuron
from train.neurons.sdn import Surrogate

CORES = 9
KERNEL, POOL = 3, 2
EXACT = ("scan", "block", "bptt")
"""The parallel forms that give this neuron's own spikes: a surrogate of leaky ones doesn't, bounds don't close in."""
TARGET_RATE = 0.05
"""Spikes a neuron and step above which a layer is penalised (train.recipe): a core's bandwidth is limited."""


@dataclasses.dataclass(frozen=True)
class SpeckConfig:
    """What fixes such a network's shape and arithmetic, apart from its weights.

    shape: of an input step, (C,) numbers, or (channels, height, width) of events; d_output: classes.
    widths: channels of every layer but the last: 3 x 3 convolutions of maps, matrices (1 x 1 convolutions) of numbers.
    """

    shape: tuple[int, ...]
    d_output: int
    widths: tuple[int, ...]
    model: str = "speck"
    tokens: bool = False
    surrogate: str = "triangle"
    parallel: str = "scan"
    readout: ClassVar[str] = "count"
    reset: ClassVar[str] = "soft"
    tau: ClassVar[float] = 1.0
    pmbc_iterations: ClassVar[int] = 0

    def __post_init__(self) -> None:
        sizes = (*self.shape, *self.widths, self.d_output)
        if len(self.shape) not in (1, 3) or any(type(size) is not int or size < 1 for size in sizes):
            raise BadInput("config", f"shape {self.shape}, widths {self.widths}, d_output {self.d_output} are no sizes")
        if len(self.widths) >= CORES:
            raise BadInput("config", f"has {len(self.widths) + 1} layers of neurons, and a Speck has {CORES} cores")
        if self.maps and min(self.shape[1:]) < POOL ** len(self.widths):
            raise BadInput("config", f"halves maps of {self.shape[1:]} {len(self.widths)} times: fewer widths")
        if self.parallel not in EXACT:
            raise BadInput("config", f"parallel is {self.parallel!r}; with a decay of 1 exact are {', '.join(EXACT)}")

    @property
    def maps(self) -> bool:
        """Whether an input step is an image, or a frame of events."""
        return len(self.shape) == 3

    @classmethod
    def parse(cls, values: dict[str, Any]) -> SpeckConfig:
        """A config from a checkpoint's dictionary. Raises BadInput for a missing, unknown or impossible entry."""
        kinds = {"shape": (list, tuple), "widths": (list, tuple), "d_output": int, "tokens": bool}
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            raise BadInput("config", f"has other entries than a Speck's: {', '.join(sorted(names ^ set(values)))}")
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, str)):  # type: ignore[arg-type]
                raise BadInput("config", f"{name} is {value!r}")
        return cls(**values | {name: tuple(values[name]) for name in ("shape", "widths")})


def check_events(x: np.ndarray, name: str) -> None:
    """Raise BadInput unless ``x``, inputs of the task ``name``, are numbers of events."""
    for sample in x:
        if (sample < 0).any() or (sample != np.floor(sample)).any():
            raise BadInput("--task", f"{name} holds values that aren't numbers of events, and a Speck takes no others")


class IntegrateAndFire(nn.Module):
    """Neurons without parameters, computed over the whole sequence by ``method``."""

    def __init__(self, config: SpeckConfig) -> None:
        super().__init__()
        self.method, self.surrogate = config.parallel, config.surrogate

    def neuron(self, dtype: torch.dtype, device: torch.device | None = None) -> Neuron:
        one = torch.ones((), dtype=dtype, device=device)
        return Neuron(reset="soft", tau=one, vth=one, surrogate=self.surrogate)

    def forward(self, x: Tensor) -> Tensor:
        return spikes(x, self.neuron(x.dtype, x.device), self.method)


class SpeckNetwork(nn.Module):
    """Weights -> neurons -> pooling, ``len(widths)`` times; weights -> neurons; spikes counted. Parallel over time."""

    sdn: Surrogate | None = None

    def __init__(self, config: SpeckConfig) -> None:
        super().__init__()
        self.config = config
        entering = (config.shape[0], *config.widths)
        self.hidden = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, padding=KERNEL // 2, bias=False)
            if config.maps
            else nn.Linear(before, after, bias=False)
            for before, after in zip(entering, config.widths, strict=False)
        )
        places = math.prod(size // POOL ** len(config.widths) for size in config.shape[1:])
        self.head = nn.Linear(entering[-1] * places, config.d_output, bias=False)
        self.neurons = nn.ModuleList(IntegrateAndFire(config) for _ in range(len(config.widths) + 1))

    def layers(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Each layer's weights and neurons, in order."""
        return zip((*self.hidden, self.head), self.neurons, strict=True)

    def set_parallel(self, method: str) -> None:
        """Compute the spikes by ``method`` from now on."""
        self.config = dataclasses.replace(self.config, parallel=method)
        for module in self.modules():
            if isinstance(module, IntegrateAndFire):
                module.method = method

    def set_surrogate(self, surrogate: Surrogate) -> None:
        """Raises Refused: a surrogate stands for neurons that leak."""
        raise Refused("surrogate", "stands for neurons that leak; a Speck's keep all of their potential")

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, list[Tensor]]:
        """x: (B, L, *shape) or (B, L, prod(shape)) numbers of events, or token ids (B, L, 1) if ``tokens``.

        Returns how often each class's neuron fired, (B, d_output), and the spikes (B, N, L) of each layer.
        """
        samples, steps = x.shape[:2]
        if self.config.tokens:
            x = F.one_hot(x.reshape(samples, steps).long(), self.config.shape[0])
        x = x.reshape(samples * steps, *self.config.shape).to(self.head.weight.dtype)
        trains: list[Tensor] = []
        for weights, neurons in self.layers():
            if trains and self.config.maps:
                x = POOL * POOL * F.avg_pool2d(x, POOL)
            current = weights(x.flatten(1) if weights is self.head else x)
            shape = current.shape[1:]
            fired = neurons(current.reshape(samples, steps, -1).transpose(1, 2).contiguous())
            trains.append(fired)
            x = fired.transpose(1, 2).reshape(samples * steps, *shape)
        return trains[-1].sum(dim=-1), trains
