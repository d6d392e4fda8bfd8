"""How a network is trained: AdamW with its own group for the SSM, cosine decay with warm-up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from spikestrip.errors import BadInput
from train.options import TrainingOptions

NO_CURRENTS = "needs each layer's input current, which --parallel fused doesn't hold; use scan"
SSM_PARAMETERS = ("log_dt", "log_A_real", "A_imag", "B")


@dataclasses.dataclass(frozen=True)
class Recipe(TrainingOptions):
    """How to train. ``schedule``: (method, epochs), in order; ``ssm_lr`` drives dt, A and B, without weight decay.

    warmup: share of all steps in which the learning rate rises. target_rate: spikes a neuron and step above which a
    layer is penalised, by rate_weight * (rate - target_rate)**2. margin: width of the hinge on every layer's decisions
    (train.margin), which weighs margin_weight. validation: share of every class that is taken from the training split
    to validate on, if the data set brings no validation split. train_samples: sequences kept of the rest, drawn with
    ``seed``; 0 keeps all. label_smoothing: share of the target that all classes get alike.
    shift: pixels by which each training image is moved at most, up or down and to a side (train.augmentation).
    minutes: wall-clock time after which training ends, if its epochs haven't; see ``factor``.

    Raises BadInput for a margin where an epoch's method holds no currents to measure it by.
    """

    schedule: tuple[tuple[str, int], ...]
    rate_weight: float = 10.0
    margin_weight: float = 1.0
    train_samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.margin is not None and any(method == "fused" for method, _ in self.schedule):
            raise BadInput("--margin", NO_CURRENTS)

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.schedule)

    def methods(self) -> Iterator[str]:
        """The parallel form of every epoch."""
        for method, epochs in self.schedule:
            yield from [method] * epochs

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW: the SSM's own group; no weight decay for it, nor for vectors (thresholds, biases, norms)."""
        ssm, plain, decayed = [], [], []
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            if name.rsplit(".", 1)[-1] in SSM_PARAMETERS:
                ssm.append(parameter)
            elif parameter.ndim < 2:
                plain.append(parameter)
            else:
                decayed.append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": ssm, "lr": min(self.lr, self.ssm_lr), "weight_decay": 0.0},
            {"params": plain, "weight_decay": 0.0},
            {"params": decayed},
        ]
        # fused: one pass a group
        optimizer = torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
        return optimizer

    def factor(self, step: int, steps: int, seconds: float = 0.0) -> float:
        """The learning rate in ``step``, of ``steps`` an epoch, as a share of its peak: warm-up, then half a cosine.

        With ``minutes`` the schedule follows whichever is further, steps or the ``seconds`` that training has taken.
        """
        total = steps * self.epochs
        first = max(1, round(self.warmup * total))
        if self.minutes is not None:
            step = max(step, min(total, round(total * seconds / (60 * self.minutes))))
        if step < first:
            return (step + 1) / first
        return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, total - first)))
