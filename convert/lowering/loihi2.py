"""From a float program to the integers of stock fixed-point Lava: scales from measured ranges, weights as 8-bit words.

The integer program has the layers of the float one under their names, an entry before them and a scale behind them, so
that its answers are in the units of the float program's. docs/loihi2.md has the arithmetic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from convert.lowering.loihi2_ranges import measure
from convert.lowering.loihi2_refusals import operation_of, readers, reason_against
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    FixedAffine,
    FixedInput,
    FixedReadout,
    FixedS4D,
    FixedScale,
    Join,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
)
from spikestrip.operations.fixed import rounding
from spikestrip.operations.fixed.rounding import value, words
from spikestrip.operations.fixed.words import EXPONENT
from spikestrip.program import INPUT, Layer, Program
from spikestrip.scales import Scales

ENTRY, EXIT = "a_integers", "z_reals"
STREAM_BITS = 20  # of a graded message between layers, with its sign
STATE_BITS = 22  # that the largest measured state of a mode may take: a quarter of a 24-bit message
ACTIVATION = 1 << 15
HEADROOM = 1.25  # of an activation over the largest measured one; all else has a factor of 2 or more
SPREAD = 5  # bits by which B of the fastest mode may exceed that of the slowest: two words hold 15


@dataclasses.dataclass(frozen=True)
class Words:
    """How many 8-bit words a matrix has: of Abar - 1, of B and C, of weights."""

    a: int = 2
    bc: int = 2
    weights: int = 2


@dataclasses.dataclass
class Choice:
    """What was chosen for one matrix: its words' exponents, and the largest error over the largest value."""

    layer: str
    matrix: str
    exponents: tuple[int, ...]
    error: float


@dataclasses.dataclass
class Lowered:
    """The integer program, what was chosen, what a reader should know, and the scales (of the stock mapping)."""

    program: Program
    choices: list[Choice]
    remarks: list[str]
    scales: Scales


def loihi2(
    program: Program, calibration: np.ndarray | None = None, count: Words = Words(), scales: Scales | None = None
) -> Lowered:
    """``program`` in integers: of ranges measured on ``calibration`` (B, T, *input_shape), or of ``scales`` held.

    Raises Refused, naming the layer and the reason, for what stock fixed-point Lava has no process for, and BadInput
    where ``scales`` are of another network.
    """
    return Lowering(program, calibration, count, scales).result()


class Lowering:
    """One pass. ``factors`` of a stream: its integers are reals times one factor, or an array of them by neuron.

    Raises Refused, naming the layer and the reason, for what the mapping has no process for.
    """

    mapping = "stock"

    def __init__(
        self, program: Program, calibration: np.ndarray | None, count: Words, held: Scales | None = None
    ) -> None:
        for layer in program.layers:
            reason = reason_against(program, layer, self.mapping == "microcode")
            if reason is not None:
                raise Refused(f"layer {layer.name} ({layer.operation.kind})", f"loihi2, {self.mapping}: {reason}")
        self.program, self.count, self.chooses = program, count, held is None
        if held is None:
            if calibration is None:
                raise BadInput("calibration", "there is none, and no scales: one of them decides the exponents")
            self.ranges = measure(program, calibration)
        self.scales = Scales() if held is None else held
        self.choices: list[Choice] = []
        self.remarks: list[str] = []
        self.factors: dict[str, np.ndarray | float] = {}
        self._made: dict[str, Operation] = {}

    def result(self) -> Lowered:
        program = self.program
        if self.chooses:
            self.scales.entry = _room(self.ranges.streams[INPUT], 17)
            if abs(self.scales.entry) > EXPONENT:
                most = float(np.max(self.ranges.streams[INPUT]))
                raise Refused(
                    "input",
                    f"loihi2: reaches {most:g}; what reaches more than 2^-16 and at most 2^45 can be sent: scale it",
                )
        entry = FixedInput(self.scales.entry, 17)
        self.factors[INPUT] = 2.0**entry.exponent
        layers = [Layer(ENTRY, entry, (INPUT,))]
        for layer in program.layers:
            inputs = tuple(ENTRY if source == INPUT else source for source in layer.inputs)
            if isinstance(layer.operation, Join):
                inputs = self._join(layer, layers)
            self._made[layer.name] = self._lower(layer)
            layers.append(Layer(layer.name, self._made[layer.name], inputs))
        shape = program.shapes[program.output]
        back = np.broadcast_to(1 / np.asarray(self.factors[program.output]), shape).copy()
        layers.append(Layer(EXIT, Scale(back), (program.output,)))
        lowered = Program(program.input_shape, tuple(layers), EXIT, program.readout)
        return Lowered(lowered, self.choices, self.remarks, self.scales)

    def _lower(self, layer: Layer) -> Operation:
        operation, name = layer.operation, layer.name
        if isinstance(operation, LIF | RefractoryLIF):
            self.factors[name] = 1.0
            return self._neuron(name, operation)
        if isinstance(operation, Join):
            self.factors[name] = self._joint(name)
            return operation
        entering = float(np.max(self.factors[layer.inputs[0]]))
        if isinstance(operation, LeakyIntegrator):
            self.factors[name] = entering
            return FixedReadout()
        factor = self.factors[name] = self._factor(name)
        if isinstance(operation, S4D):
            return self._s4d(layer, operation, entering, np.asarray(factor))
        if isinstance(operation, Scale):
            return rounding.scale(operation.scale * factor / entering, self._maker(name))
        if not isinstance(operation, Affine):
            raise Refused(f"layer {name} ({operation.kind})", f"loihi2, {self.mapping}: no integers for it")
        weight = operation.weight * np.reshape(factor, (-1, 1)) / entering
        return rounding.affine(weight, None if operation.bias is None else operation.bias * factor, self._maker(name))

    def _join(self, layer: Layer, layers: list[Layer]) -> tuple[str, ...]:
        """What a join reads: synapses of its own in its scale. A stream that isn't one is brought by an exact scale."""
        inputs = []
        for source in layer.inputs:
            if self._feeds(source, layer.name):
                inputs.append(source)
                continue
            sends = ENTRY if source == INPUT else source
            factor = np.broadcast_to(self.factors[source], self._shape(source))
            made, exponent = words(self._joint(layer.name) / factor, 1)
            bridge = f"{sends}_to_{layer.name}"
            at = next(k for k, other in enumerate(layers) if other.name == sends)
            layers.insert(at + 1, Layer(bridge, FixedScale(made, exponent), (sends,)))
            inputs.append(bridge)
        return tuple(inputs)

    def _shape(self, source: str) -> tuple[int, ...]:
        return self.program.input_shape if source == INPUT else self.program.shapes[source]

    def _feeds(self, source: str, reader: str) -> bool:
        """Whether ``source`` is a synapse that ``reader`` alone reads."""
        alone = readers(self.program, source) == [reader]
        return alone and isinstance(operation_of(self.program, source), Affine | Scale)

    def _chosen(self, table: dict[str, Any], name: str, choose: Callable[[], Any]) -> Any:
        """What the scales hold for a layer; chosen where nothing is held."""
        if name not in table:
            if not self.chooses:
                raise BadInput("scales", f"hold nothing for layer {name}: they are of another network")
            table[name] = choose()
        return table[name]

    def _stream(self, name: str, choose: Callable[[], int]) -> float:
        return 2.0 ** int(self._chosen(self.scales.streams, name, choose))

    def _joint(self, join: str) -> float:
        streams = (join, *self.program[join].inputs)
        return self._stream(join, lambda: _room(max(self.ranges.streams[name].max() for name in streams), STREAM_BITS))

    def _factor(self, name: str) -> np.ndarray | float:
        """The scale of what a synapse or an SSM sends: as its reader wants it, else as its range allows."""
        for reader in readers(self.program, name):
            operation = self.program[reader].operation
            if isinstance(operation, LIF | RefractoryLIF):
                unit = self._chosen(self.scales.units, reader, partial(self._unit, reader, operation))
                return unit / operation.threshold
            if isinstance(operation, Join) and self._feeds(name, reader):
                return self._joint(reader)
            if isinstance(operation, LeakyIntegrator):  # the only reader
                return self._stream(name, lambda: _room(self.ranges.streams[self.program.output], 23))
        return self._stream(name, lambda: _room(self.ranges.streams[name], STREAM_BITS))

    def _unit(self, name: str, operation: LIF | RefractoryLIF) -> int:
        """The common threshold, as large as 16-bit activations allow."""
        most = (self.ranges.entering[name] / operation.threshold).max()
        return int(min(ACTIVATION / (HEADROOM * max(most, 1e-9)), ACTIVATION - 1))

    def _neuron(self, name: str, operation: LIF | RefractoryLIF) -> Operation:
        decay = float(operation.decay.flat[0])
        dv = round(4096 * (1 - decay))
        if dv != 4096 * (1 - decay):
            self.remarks.append(f"{name}: decay {decay:g} becomes {1 - dv / 4096:g}, its nearest of 12 bits")
        before = self._made[self.program[name].inputs[0]]
        if not isinstance(before, FixedAffine | FixedS4D):
            raise Refused(f"layer {name}", "loihi2, stock: thresholds fold into the rows of an affine or an SSM")
        return rounding.lif(decay, self.scales.units[name], before)

    def _s4d(self, layer: Layer, operation: S4D, entering: float, factor: np.ndarray) -> Operation:
        name = layer.name
        b = operation.b_re + 1j * operation.b_im
        exponents = self._chosen(self.scales.states, name, lambda: self._states(name, b))
        if exponents.shape != b.shape:
            raise BadInput(
                "scales", f"of {name} are {exponents.shape}, its modes {b.shape}: they are of another network"
            )
        scale = 2.0**exponents
        c = (operation.c_re + 1j * operation.c_im) / scale * factor
        a, d = operation.a_re + 1j * operation.a_im, operation.d * factor / entering
        return rounding.s4d(a, b * scale / entering, c, d, self._maker(name))

    def _states(self, name: str, b: np.ndarray) -> np.ndarray:
        """The exponents of an SSM's modes (N, H)."""
        state = np.floor(np.log2((1 << (STATE_BITS - 1)) / np.maximum(self.ranges.modes[name], 1e-12)))
        # of fast modes B is large and the state small: they take a coarser grid than they could, or B of slow ones
        # would have no bits
        size = np.abs(b) * 2.0**state
        state -= np.maximum(0, np.ceil(np.log2(np.maximum(size, 1e-300) / size.min()) - SPREAD))
        return state.astype(np.int64)

    def _maker(self, layer: str) -> rounding.Make:
        """What makes the words of a layer's matrices, and notes what was chosen."""
        counts = {"A - 1": self.count.a, "B": self.count.bc, "C, D": self.count.bc}

        def make(matrix: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            table = self.scales.words.setdefault(layer, {})
            if self.chooses:
                made, exponent = words(values, counts.get(matrix, self.count.weights))
                table[matrix] = tuple(int(e) for e in exponent)
            else:
                held = self._chosen(table, matrix, tuple)
                made, exponent = words(values, len(held), held)
            error = np.abs(value(made, exponent) - values).max() / max(np.abs(values).max(), 1e-300)
            self.choices.append(Choice(layer, matrix, table[matrix], float(error)))
            return made, exponent

        return make


def _room(values: np.ndarray | float, bits: int) -> int:
    """The exponent at which twice the largest magnitude still fits ``bits`` bits with the sign."""
    return math.floor(math.log2((1 << (bits - 2)) / max(float(np.max(values)), 1e-12)))
