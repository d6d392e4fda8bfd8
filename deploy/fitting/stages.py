"""A program as a Speck sees it: stages of convolution, integrate-and-fire and pooling; or why it is none."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from deploy.fitting.answer import Reason
from spikestrip.operations import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    FixedIF,
    Flatten,
    MultiSpikeIF,
    MultiSpikeLIF,
    Shape,
    SumPool2d,
)
from spikestrip.program import INPUT, Layer, Program

WEIGHTS = (Conv2d, Affine)
NEURONS = (LIF, MultiSpikeIF, FixedIF)
WIRES = ("join", "flatten")
CAUSES = {
    "state_space": ("a state-space model's states decay and rotate, and it sends values: a core has neither",
                    "run it on the host, in front of the chip"),
    "leak": ("membranes decay exponentially, and a core's leak is a constant", "train with a decay of 1"),
    "graded": ("values leave them that aren't spikes (norms, gates, sums, readouts), and cores send spikes alone",
               "fold norms into weights, and put an integrate-and-fire layer behind every layer of weights"),
    "neuron": ("cores have integrate-and-fire neurons and no others", "train with integrate-and-fire neurons"),
    "kind": ("cores have two-dimensional convolutions, sum pooling and nothing else", "write it as a convolution"),
    "bias": ("a bias is added in every step, and a core adds it by a clock of its own", "train without biases"),
    "reset": ("neurons are reset to a value that isn't 0; a core resets to 0 or subtracts", "reset to 0"),
    "threshold": ("thresholds (or gains) of one channel differ, or aren't above 0: a channel's can go into its "
                  "weights, a neuron's can't", "share one in each channel"),
    "floor": ("neurons have several floors for one threshold; a core has one", "share the floor"),
    "recurrence": ("spikes come back a step later, which can lock the chip", "unroll it, or run it on the host"),
}  # fmt: skip
"""Why a layer can't be on a core, and what would help."""
REFUSED = {
    "s4d": "state_space",
    **dict.fromkeys(("glu", "gelu", "layer_norm", "scale", "clamp", "li"), "graded"),
    **dict.fromkeys(("lif_refractory", "lif_adaptive", "bernoulli", "threshold"), "neuron"),
    **dict.fromkeys(("conv1d", "delay", "max_pool2d", "reshape", "pad"), "kind"),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one core holds. entering, leaving: (channels, height, width), leaving before the pooling.

    kernel: (height, width); stride, padding: by axis; sources: neurons (or the input) it reads, and their pooling.
    """

    name: str
    weights: str
    entering: Shape
    leaving: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    sources: tuple[tuple[str, int], ...]

    def kernel_memory(self, channels: int | None = None) -> int:
        """Weights as the core addresses them: c * 2^(ceil log2(ky*kx) + ceil log2 f) (sinabs, memory_summary)."""
        outputs = self.leaving[0] if channels is None else channels
        return self.entering[0] * 2 ** (_bits(math.prod(self.kernel)) + _bits(outputs))

    def neuron_memory(self, channels: int | None = None) -> int:
        """Neurons as the core addresses them: f * 2^(ceil log2 fy + ceil log2 fx)."""
        outputs = self.leaving[0] if channels is None else channels
        return outputs * 2 ** (_bits(self.leaving[1]) + _bits(self.leaving[2]))


def stages(program: Program) -> tuple[list[Stage], list[Reason]]:
    """The stages of ``program`` in order, and why it isn't made of stages alone (then they are not all)."""
    reading = _Reading(program)
    found = [stage for layer in program.layers if (stage := reading.stage(layer)) is not None]
    used = {stage.weights for stage in found}
    for layer in program.layers:
        cause = REFUSED.get(layer.operation.kind)
        if cause is not None:
            reading.say(cause, layer.name)
        elif not isinstance(layer.operation, (*WEIGHTS, *NEURONS, SumPool2d)) and layer.operation.kind not in WIRES:
            reading.say("kind", layer.name)
        if isinstance(layer.operation, WEIGHTS) and layer.name not in used and layer.name not in reading.blamed:
            reading.say("graded", layer.name)
        if layer.delayed:
            reading.say("recurrence", layer.name)
    return found, reading.reasons()


class _Reading:
    """Walks a program and collects what keeps it from a chip."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.blamed: set[str] = set()
        self._said: dict[str, list[str]] = {}

    def say(self, cause: str, layer: str) -> None:
        named = self._said.setdefault(cause, [])
        if layer not in named:
            named.append(layer)
            self.blamed.add(layer)

    def reasons(self) -> list[Reason]:
        """One for each cause, in the order of ``CAUSES``."""
        return [Reason(cause, tuple(self._said[cause]), *CAUSES[cause]) for cause in CAUSES if cause in self._said]

    def stage(self, layer: Layer) -> Stage | None:
        """The stage whose neurons are ``layer``; None where it is no neuron, or no layer of weights alone feeds it."""
        operation = layer.operation
        if not isinstance(operation, NEURONS):
            return None
        self._neuron(layer, operation)
        feeding = self._through_wires(layer)
        if len(feeding) != 1 or feeding[0] == INPUT:
            self.say("graded", layer.name)  # a sum of several, or values as they are
            return None
        weights = self.program[feeding[0]]
        if not isinstance(weights.operation, WEIGHTS):
            if weights.operation.kind not in REFUSED:
                self.say("graded", layer.name)
            return None
        if weights.operation.bias is not None and np.any(weights.operation.bias):
            self.say("bias", weights.name)
        entering = self.program.entering_shape(weights)
        if isinstance(weights.operation, Conv2d):
            conv = weights.operation
            kernel, stride = (conv.weight.shape[2], conv.weight.shape[3]), (conv.stride_y, conv.stride_x)
            padding = (conv.pad_top, conv.pad_bottom, conv.pad_left, conv.pad_right)
            if conv.groups != 1 or (conv.dilation_y, conv.dilation_x) != (1, 1):
                self.say("kind", weights.name)
        else:
            entering = self._unflattened(weights)
            kernel, stride, padding = (entering[1], entering[2]), (1, 1), (0, 0, 0, 0)
        leaving = self.program.shapes[weights.name]
        leaving = leaving if len(leaving) == 3 else (leaving[0], 1, 1)
        sources = tuple(self._sources(weights, 1))
        return Stage(layer.name, weights.name, entering, leaving, kernel, stride, padding, sources)

    def _neuron(self, layer: Layer, operation: LIF | MultiSpikeIF | FixedIF) -> None:
        if isinstance(operation, FixedIF):
            return  # lowered: it is a core's own
        channels = self.program.shapes[layer.name][0]
        threshold = operation.threshold.reshape(channels, -1)
        if (threshold != threshold[:, :1]).any() or not (threshold > 0).all():
            self.say("threshold", layer.name)
        if isinstance(operation, MultiSpikeIF):
            if np.unique(operation.floor / operation.threshold).size > 1:
                self.say("floor", layer.name)
            if isinstance(operation, MultiSpikeLIF):
                self.say("leak", layer.name)
            return
        if (operation.decay != 1).any():
            self.say("leak", layer.name)
        if operation.reset_kind == "hard" and operation.v_reset is not None and np.any(operation.v_reset):
            self.say("reset", layer.name)
        if operation.bias is not None and np.any(operation.bias):
            self.say("bias", layer.name)
        if operation.gain is not None:
            gain = operation.gain.reshape(channels, -1)
            if (gain != gain[:, :1]).any():
                self.say("threshold", layer.name)

    def _through_wires(self, layer: Layer) -> list[str]:
        """What enters a neuron, joins and flattening looked through."""
        found = []
        for source in layer.inputs:
            if source != INPUT and self.program[source].operation.kind in WIRES:
                found += self._through_wires(self.program[source])
            else:
                found.append(source)
        return found

    def _unflattened(self, weights: Layer) -> Shape:
        """The map that a matrix reads, as channels, height and width."""
        shape = self.program.entering_shape(weights)
        if len(shape) > 1:
            self.say("kind", weights.name)
        maps = self._flattened(weights)
        if len(maps) > 1:  # several maps of one size in numbers, that mean other places
            self.say("kind", weights.name)
        return next(iter(maps), (shape[0], 1, 1))

    def _flattened(self, layer: Layer) -> set[Shape]:
        """The maps that are flattened on the way to ``layer``."""
        found: set[Shape] = set()
        for source in layer.inputs:
            before = None if source == INPUT else self.program[source]
            if before is not None and isinstance(before.operation, Flatten):
                shape = self.program.entering_shape(before)
                found |= {shape} if len(shape) == 3 else self._flattened(before)
            elif before is not None and before.operation.kind in WIRES:
                found |= self._flattened(before)
        return found

    def _sources(self, layer: Layer, pooling: int) -> list[tuple[str, int]]:
        """The neurons, or the input, whose spikes reach ``layer``, and by how much they are pooled on the way."""
        found: list[tuple[str, int]] = []
        for source in layer.inputs:
            before = None if source == INPUT else self.program[source]
            if before is None or isinstance(before.operation, NEURONS):
                found.append((source, pooling))
            elif isinstance(before.operation, SumPool2d):
                found += self._sources(before, pooling * self._pooled(before, before.operation))
            elif before.operation.kind in WIRES:
                found += self._sources(before, pooling)
            elif before.operation.kind not in REFUSED:
                self.say("graded", before.name)
        return found

    def _pooled(self, layer: Layer, pool: SumPool2d) -> int:
        sizes = {pool.kernel_y, pool.kernel_x, pool.stride_y, pool.stride_x}
        if len(sizes) > 1 or any((pool.pad_top, pool.pad_bottom, pool.pad_left, pool.pad_right)):
            self.say("kind", layer.name)
        if isinstance(pool, AvgPool2d) and pool.kernel_y & (pool.kernel_y - 1):
            self.say("kind", layer.name)  # its division can't be moved into weights exactly
        return pool.kernel_y


def _bits(size: int) -> int:
    """ceil(log2(size)), in integers."""
    return (size - 1).bit_length()
