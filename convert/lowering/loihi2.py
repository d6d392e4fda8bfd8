"""From a float program to the integers of stock fixed-point Lava: scales from measured ranges, weights as 8-bit words.

The integer program has the layers of the float one under their names, an entry before them and a scale behind them, so
that its answers are in the units of the float program's. docs/loihi2.md has the arithmetic.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from convert.lowering.loihi2_ranges import measure
from convert.lowering.loihi2_refusals import operation_of, readers, reason_against
from convert.lowering.loihi2_words import floors, value, words
from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    FixedAffine,
    FixedInput,
    FixedLIF,
    FixedReadout,
    FixedS4D,
    FixedScale,
    Join,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
)
from spikestrip.program import INPUT, Layer, Program

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
    """The integer program, what was chosen, and what a reader should know."""

    program: Program
    choices: list[Choice]
    remarks: list[str]


def loihi2(program: Program, calibration: np.ndarray, count: Words = Words()) -> Lowered:
    """``program`` in integers; ranges are measured on ``calibration`` (B, T, *input_shape).

    Raises Refused, naming the layer and the reason, for what stock fixed-point Lava has no process for.
    """
    return Lowering(program, calibration, count).result()


class Lowering:
    """One pass. ``factors`` of a stream: its integers are reals times one factor, or an array of them by neuron.

    Raises Refused, naming the layer and the reason, for what the mapping has no process for.
    """

    mapping = "stock"

    def __init__(self, program: Program, calibration: np.ndarray, count: Words) -> None:
        for layer in program.layers:
            reason = reason_against(program, layer, self.mapping == "microcode")
            if reason is not None:
                raise Refused(f"layer {layer.name} ({layer.operation.kind})", f"loihi2, {self.mapping}: {reason}")
        self.program, self.ranges, self.count = program, measure(program, calibration), count
        self.choices: list[Choice] = []
        self.remarks: list[str] = []
        self.thresholds: dict[str, int] = {}
        self.factors: dict[str, np.ndarray | float] = {}
        self._joined: dict[str, float] = {}

    def result(self) -> Lowered:
        program = self.program
        entry = FixedInput(_room(self.ranges.streams[INPUT], 17), 17)
        self.factors[INPUT] = 2.0**entry.exponent
        layers = [Layer(ENTRY, entry, (INPUT,))]
        for layer in program.layers:
            inputs = tuple(ENTRY if source == INPUT else source for source in layer.inputs)
            if isinstance(layer.operation, Join):
                inputs = self._join(layer, layers)
            layers.append(Layer(layer.name, self._lower(layer), inputs))
        shape = program.shapes[program.output]
        back = np.broadcast_to(1 / np.asarray(self.factors[program.output]), shape).copy()
        layers.append(Layer(EXIT, Scale(back), (program.output,)))
        return Lowered(Program(program.input_shape, tuple(layers), EXIT, program.readout), self.choices, self.remarks)

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
            made, exponent = self._words(name, "scale", operation.scale * factor / entering, self.count.weights)
            return FixedScale(made, exponent)
        if not isinstance(operation, Affine):
            raise Refused(f"layer {name} ({operation.kind})", f"loihi2, {self.mapping}: no integers for it")
        matrix = (operation.weight * np.reshape(factor, (-1, 1)) / entering).T
        made, exponent = self._words(name, "weight", matrix, self.count.weights)
        bias = np.zeros(len(operation.weight)) if operation.bias is None else operation.bias * factor
        return FixedAffine(made, exponent, np.rint(bias + floors(exponent) / 2).astype(np.int32))

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

    def _joint(self, join: str) -> float:
        if join not in self._joined:
            most = max(self.ranges.streams[name].max() for name in (join, *self.program[join].inputs))
            self._joined[join] = 2.0 ** _room(most, STREAM_BITS)
        return self._joined[join]

    def _factor(self, name: str) -> np.ndarray | float:
        """The scale of what a synapse or an SSM sends: as its reader wants it, else as its range allows."""
        for reader in readers(self.program, name):
            operation = self.program[reader].operation
            if isinstance(operation, LIF | RefractoryLIF):
                unit = self.thresholds[reader] = self._unit(reader, operation)
                return unit / operation.threshold
            if isinstance(operation, LeakyIntegrator):
                return 2.0 ** _room(self.ranges.streams[reader], 23)
            if isinstance(operation, Join) and self._feeds(name, reader):
                return self._joint(reader)
        return 2.0 ** _room(self.ranges.streams[name], STREAM_BITS)

    def _unit(self, name: str, operation: LIF | RefractoryLIF) -> int:
        """The common threshold, as large as 16-bit activations allow."""
        most = (self.ranges.entering[name] / operation.threshold).max()
        return int(min(ACTIVATION / (HEADROOM * max(most, 1e-9)), ACTIVATION - 1))

    def _neuron(self, name: str, operation: LIF | RefractoryLIF) -> Operation:
        decay = float(operation.decay.flat[0])
        dv = round(4096 * (1 - decay))
        if dv != 4096 * (1 - decay):
            self.remarks.append(f"{name}: decay {decay:g} becomes {1 - dv / 4096:g}, its nearest of 12 bits")
        # the floors of the readout's words lower what the membrane gathers; the threshold goes with it
        source = self.program[name].name
        return FixedLIF(min(dv, 4095), self.thresholds[source] - self._lost(name, decay))

    def _lost(self, name: str, decay: float) -> int:
        source = self.program[name].inputs[0]
        if not isinstance(operation_of(self.program, source), S4D):
            return 0  # an affine's bias makes up for it
        read = next(choice for choice in self.choices if (choice.layer, choice.matrix) == (source, "C, D"))
        return round(floors(np.array(read.exponents)) / 2 / (1 - decay)) if decay < 1 else 0

    def _s4d(self, layer: Layer, operation: S4D, entering: float, factor: np.ndarray) -> Operation:
        name, n = layer.name, self.count
        b = operation.b_re + 1j * operation.b_im
        state = np.floor(np.log2((1 << (STATE_BITS - 1)) / np.maximum(self.ranges.modes[name], 1e-12)))
        # of fast modes B is large and the state small: they take a coarser grid than they could, or B of slow ones
        # would have no bits
        size = np.abs(b) * 2.0**state
        state -= np.maximum(0, np.ceil(np.log2(np.maximum(size, 1e-300) / size.min()) - SPREAD))
        scale = 2.0**state
        a, a_exp = self._words(name, "A - 1", np.stack([operation.a_re - 1, operation.a_im]), n.a)
        a[:, 0] = _stable(a, a_exp)
        made_b, b_exp = self._words(name, "B", np.stack([b.real, b.imag]) * scale / entering, n.bc)
        read = np.stack([operation.c_re, -operation.c_im]) * 2 / scale * factor
        through = (operation.d * factor / entering)[None]
        both = np.concatenate([read.reshape(-1, through.size), through])
        made_c, c_exp = self._words(name, "C, D", both, n.bc)
        c = made_c[:, :-1].reshape(n.bc, 2, *operation.a_re.shape)
        rounding = round((floors(a_exp) + floors(b_exp)) / 2)
        return FixedS4D(
            a[:, 0], a[:, 1], a_exp, made_b[:, 0], made_b[:, 1], b_exp, c[:, 0], c[:, 1], made_c[:, -1], c_exp, rounding
        )

    def _words(self, layer: str, matrix: str, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        made, exponent = words(values, count)
        error = np.abs(value(made, exponent) - values).max() / max(np.abs(values).max(), 1e-300)
        self.choices.append(Choice(layer, matrix, tuple(int(e) for e in exponent), float(error)))
        return made, exponent


def _room(values: np.ndarray | float, bits: int) -> int:
    """The exponent at which twice the largest magnitude still fits ``bits`` bits with the sign."""
    return math.floor(math.log2((1 << (bits - 2)) / max(float(np.max(values)), 1e-12)))


def _stable(a: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The real parts (K, N, H), lowered in their last word where rounding brought |A| to 1 or beyond."""
    real = a[:, 0].copy()
    for _ in range(4):
        grows = np.abs(1 + value(real, exponent) + 1j * value(a[:, 1], exponent)) >= 1
        real[-1] = np.clip(real[-1] - 2 * grows, -254, 254)
    return real
