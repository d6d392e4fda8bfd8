"""How a module takes time: one step in each call, or whole sequences with the axis of time somewhere."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from convert.modules import neurons, norse, own, sinabs, spikingjelly
from convert.modules.nodes import ROOT
from spikestrip.errors import Refused


class Layout(enum.Enum):
    """What a call takes and gives."""

    STEP = "one step, (B, ...)"
    BATCH_FIRST = "(B, T, ...)"
    SQUEEZED = "(B*T, ...)"
    TIME_FIRST = "(T, B, ...)"

    def repeated(self, x: np.ndarray, steps: int) -> Tensor:
        """x (B, *shape), given ``steps`` times."""
        step = torch.from_numpy(x.copy())
        if self is Layout.STEP:
            return step
        if self is Layout.TIME_FIRST:
            return step[None].repeat_interleave(steps, 0)
        sequence = step[:, None].repeat_interleave(steps, 1)
        return sequence.flatten(0, 1) if self is Layout.SQUEEZED else sequence

    def step(self, stream: object, step: int, samples: int, steps: int) -> Tensor:
        """One step (B, *shape) of ``stream``. Raises Refused for what is no stream over so many steps."""
        if isinstance(stream, Tensor) and stream.ndim:
            if self is Layout.SQUEEZED and len(stream) == samples * steps:
                return stream.unflatten(0, (samples, steps))[:, step]
            if self is Layout.BATCH_FIRST and stream.shape[:2] == (samples, steps):
                return stream[:, step]
            if self is Layout.TIME_FIRST and len(stream) == steps:
                return stream[step]
        raise Refused(ROOT, f"gives no stream over time, {self.value}, on the example, given {steps} times")


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one call takes and gives, and for how many steps; looped: its own forward goes over them, one by one.

    entering is STEP and leaving is not where each step of a loop reads the same input.
    """

    entering: Layout
    leaving: Layout
    steps: int
    looped: bool = False


def layout(root: nn.Module) -> Layout:
    """How ``root`` takes time, by the neurons and layers in it that say so.

    Raises Refused where they differ, and for a container that merges the steps of a neuron in it.
    """
    found = dict(_layouts("", root))
    kinds = set(found.values())
    if len(kinds) > 1:
        shown = "; ".join(f"{path or ROOT} takes {kind.value}" for path, kind in found.items())
        raise Refused(ROOT, f"mixes modules that take time differently; use one kind: {shown}")
    return kinds.pop() if kinds else Layout.STEP


def _layouts(path: str, module: nn.Module) -> Iterator[tuple[str, Layout]]:
    """The first module of each layout, by its path."""
    own = _own(module)
    if own is not None:
        yield path, own
    if norse.is_lift(module) or spikingjelly.is_container(module):
        for name, inner in module.named_modules():
            if spikingjelly.is_neuron(inner) and spikingjelly.merges_steps(module):
                raise Refused(
                    f"{path}.{name}".lstrip("."),
                    f"stands in a {type(module).__name__}, which gives it all steps as samples of one step; "
                    "MultiStepContainer, or step_mode='m' without a container, steps it",
                )
        if own is Layout.TIME_FIRST:
            return
    seen: set[Layout] = set()
    for name, child in module.named_children():
        for inner, kind in _layouts(f"{path}.{name}".lstrip("."), child):
            if kind not in seen:
                seen.add(kind)
                yield inner, kind


def _own(module: nn.Module) -> Layout | None:
    if neurons.is_neuron(module):
        return Layout.STEP
    if own.is_own(module):
        return Layout.BATCH_FIRST
    if sinabs.is_neuron(module):
        return Layout.SQUEEZED if sinabs.is_squeezed(module) else Layout.BATCH_FIRST
    if norse.is_neuron(module):
        return Layout.TIME_FIRST if norse.takes_sequences(module) else Layout.STEP
    if norse.is_lift(module):
        return Layout.TIME_FIRST
    sequences = spikingjelly.takes_sequences(module)
    return None if sequences is None else (Layout.TIME_FIRST if sequences else Layout.STEP)
