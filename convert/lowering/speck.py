"""From a float program to the integers of a Speck's cores: one scale for each core's weights and thresholds.

The rule is that of sinabs 3.1.3 (``discretize_conv_spike``): the least of the factors at which weights fill 8 bits and
thresholds 16, then round half to even. The integer program has the float one's layers, names and input; docs/speck.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    UNBOUNDED,
    Affine,
    AvgPool2d,
    Conv2d,
    FixedIF,
    Flatten,
    Join,
    MultiSpikeIF,
    MultiSpikeLIF,
    SumPool2d,
)
from spikestrip.operations.fixed import HIGHEST, LOWEST
from spikestrip.program import INPUT, Layer, Program

WEIGHT_BITS, STATE_BITS = 8, 16

Neuron = LIF | MultiSpikeIF
LEAKS = "its membrane decays, and a core's leak is a constant"


@dataclasses.dataclass(frozen=True)
class Core:
    """What became of one layer of weights and its neurons.

    scale: integers for one unit of the float program's; threshold, floor: in integers; weights: how many are not 0 in
    the float program; zeroed: those of them that rounded to 0. None is clipped: the scale is one at which all fit.
    """

    weights_layer: str
    neurons_layer: str
    scale: float
    threshold: int
    floor: int
    weights: int
    zeroed: int


@dataclasses.dataclass
class Lowered:
    """The integer program, and what was chosen for each core."""

    program: Program
    cores: list[Core]


def speck(program: Program) -> Lowered:
    """``program``, made of stages of weights, integrate-and-fire and pooling, in integers.

    Raises Refused, naming the layer and the reason, for what has no such integers. That cores and memories suffice is
    fit's to say.
    """
    return _Lowering(program).result()


def scale_of(values: np.ndarray, bits: int) -> float:
    """The factor at which ``values`` fill ``bits`` bits with their sign; infinite where all are 0."""
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    most = 2 ** (bits - 1)
    return min((most - 1) / high if high > 0 else np.inf, -most / low if low < 0 else np.inf)


class _Lowering:
    """One pass. ``units``: stream -> what one of its integers is in the float program (a mean of pixels sums here)."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.units: dict[str, float] = {INPUT: 1.0}
        self.cores: list[Core] = []

    def result(self) -> Lowered:
        made = {layer.name: layer for layer in self.program.layers}
        for layer in self.program.layers:
            operation = layer.operation
            if layer.delayed:
                raise _refused(layer, "reads the previous step of another layer")
            if isinstance(operation, LIF | MultiSpikeIF):
                weights = self._weights_before(layer)
                unit = self._entering(weights)
                made[weights.name], made[layer.name] = self._core(weights, layer, operation, unit)
                self.units[layer.name] = 1.0
            elif isinstance(operation, AvgPool2d):
                fields = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
                made[layer.name] = dataclasses.replace(layer, operation=SumPool2d(**fields))
                self.units[layer.name] = self._entering(layer) / (operation.kernel_y * operation.kernel_x)
            elif isinstance(operation, SumPool2d | Flatten | Join):
                self.units[layer.name] = self._entering(layer)
            elif not isinstance(operation, Conv2d | Affine):
                raise _refused(layer, "a core has weights, integrate-and-fire neurons, pooling and nothing else")
        read = {core.weights_layer for core in self.cores}
        for layer in self.program.layers:
            if isinstance(layer.operation, Conv2d | Affine) and layer.name not in read:
                raise _refused(layer, "no integrate-and-fire neurons stand behind these weights")
        if self.units[self.program.output] != 1:
            raise _refused(self.program[self.program.output], "the output is a mean, which no core divides out")
        layers = tuple(made[layer.name] for layer in self.program.layers)
        return Lowered(dataclasses.replace(self.program, layers=layers), self.cores)

    def _entering(self, layer: Layer) -> float:
        units = {self.units[source] for source in layer.inputs}
        if len(units) > 1:
            raise _refused(layer, "adds means of pixels to sums: a core has no division")
        return units.pop()

    def _weights_before(self, layer: Layer) -> Layer:
        """The one layer of weights that feeds ``layer`` and nothing else."""
        source = layer.inputs[0]
        if len(layer.inputs) > 1 or source == INPUT or not isinstance(self.program[source].operation, Conv2d | Affine):
            raise _refused(layer, "one convolution or matrix must stand right before it")
        readers = [other.name for other in self.program.layers if source in other.inputs]
        if readers != [layer.name] or source == self.program.output:
            raise _refused(self.program[source], "its sums leave it for more than one layer of neurons")
        return self.program[source]

    def _core(self, weights: Layer, neurons: Layer, neuron: Neuron, unit: float) -> tuple[Layer, Layer]:
        operation: Any = weights.operation  # Conv2d or Affine
        shape = self.program.shapes[neurons.name]
        if isinstance(operation, Affine) and len(shape) > 1:
            raise _refused(weights, f"acts on the last of the axes {shape}; write it as a convolution")
        if operation.bias is not None and np.any(operation.bias):
            raise _refused(weights, "a bias is added by a core's own clock, not in every step")
        rows, threshold, floor = self._folded(neurons, neuron)
        real = operation.weight.astype(np.float64) * (unit * rows).reshape(-1, *[1] * (operation.weight.ndim - 1))
        bounds = np.array([threshold, *([] if floor is None else [floor])])
        scale = min(scale_of(real, WEIGHT_BITS), scale_of(bounds, STATE_BITS))
        held = np.rint(real * scale)
        whole = int(np.rint(threshold * scale))
        if not 1 <= whole <= HIGHEST:
            raise _refused(neurons, f"its threshold would be {whole}: the weights before it leave it no bits")
        lowest = LOWEST if floor is None else max(LOWEST, int(np.rint(floor * scale)))
        self.cores.append(
            Core(
                weights.name, neurons.name, scale, whole, lowest,
                int(np.count_nonzero(real)), int(np.count_nonzero((held == 0) & (real != 0))),
            )
        )  # fmt: skip
        integer = dataclasses.replace(operation, weight=held.astype(np.float32), bias=None)
        if isinstance(neuron, LIF):
            fires: FixedIF | MultiSpikeIF = FixedIF(whole, neuron.reset_kind == "soft")
        else:
            fires = MultiSpikeIF(np.full(shape, float(whole)), np.full(shape, float(lowest)))
        return dataclasses.replace(weights, operation=integer), dataclasses.replace(neurons, operation=fires)

    def _folded(self, layer: Layer, neuron: Neuron) -> tuple[np.ndarray, float, float | None]:
        """(a factor for each channel's weights, the core's one threshold, its floor or None where there is none)."""
        channels = self.program.shapes[layer.name][0]
        threshold = _of_channels(layer, "threshold", neuron.threshold, channels)
        if not (threshold > 0).all():
            raise _refused(layer, "a threshold is not above 0")
        common = float(threshold.max())
        rows = common / threshold
        if isinstance(neuron, MultiSpikeLIF):
            raise _refused(layer, LEAKS)
        if isinstance(neuron, MultiSpikeIF):
            floor = _of_channels(layer, "floor", neuron.floor, channels)
            if (floor <= UNBOUNDED).all():
                return rows, common, None
            if np.unique(neuron.floor / neuron.threshold).size > 1:
                raise _refused(layer, "has several floors for one threshold")
            return rows, common, float(floor[0] * rows[0])
        if (neuron.decay != 1).any():
            raise _refused(layer, LEAKS)
        if neuron.comparison != "ge":
            raise _refused(layer, "fires above its threshold only, and a core fires at it too")
        if (neuron.bias is not None and np.any(neuron.bias)) or (neuron.v_reset is not None and np.any(neuron.v_reset)):
            raise _refused(layer, "has a bias, or is reset to a value that isn't 0")
        gain = 1.0 if neuron.gain is None else _of_channels(layer, "gain", neuron.gain, channels)
        return rows * gain, common, None


def _of_channels(layer: Layer, what: str, array: np.ndarray, channels: int) -> np.ndarray:
    """(channels,) of an array of neurons that is the same in all neurons of a channel."""
    by_channel = array.reshape(channels, -1)
    if (by_channel != by_channel[:, :1]).any():
        raise _refused(layer, f"its {what}s differ within a channel, and only a channel's can go into its weights")
    return np.asarray(by_channel[:, 0], np.float64)


def _refused(layer: Layer, reason: str) -> Refused:
    return Refused(f"layer {layer.name} ({layer.operation.kind})", f"speck: {reason}")
