"""A program of integers as real numbers, and how far its whole numbers can be from them.

Every floor is a floor in the integers, and one half less in the reals: floor(z) = z - 1/2, up to 1/2. So the reals are
computed by the same operations, with another ``floor`` (``REALS``), and a radius runs beside them, by the rules below:
as long as all spikes are equal, each whole number lies within its radius of its real one. Clips bring no two numbers
further apart; a sum that wraps does, and ends the bound. A mode's radius is of its complex state, so that it decays
with |A|. What float64 rounds in the reals, (n + 4) units of a sum of n products, is added everywhere.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from spikestrip.execution import Stepper
from spikestrip.operations import Affine, MultiSpikeIF
from spikestrip.operations.fixed import (
    FixedAffine,
    FixedIF,
    FixedInput,
    FixedLIF,
    FixedModes,
    FixedProgrammedLIF,
    FixedReadout,
    FixedRefractoryLIF,
    FixedS4D,
    FixedScale,
)
from spikestrip.operations.fixed.modes import FRACTION
from spikestrip.operations.fixed.neurons import ALIGN
from spikestrip.operations.fixed.words import MESSAGE
from spikestrip.program import INPUT, Program

UNIT = 2.0**-52
HALF = 0.5
TOWARD_ZERO = 1.5
"""trunc0(z) = z - sign(z)/2 up to 1/2, and the sign of a number near 0 isn't known: one more."""


class _Reals(types.ModuleType):
    """numpy, whose ``floor`` takes away what a floor takes away on the average."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def floor(values: np.ndarray) -> np.ndarray:
        return values - 0.5


REALS = _Reals("reals")


@dataclasses.dataclass
class Entered:
    """What a rule sees of a layer's step: e, x: (B, *shape), the radius of what enters and the real number itself;
    before: the states, real; memory: their radii, carried on; fired: 1 where a neuron spikes, None for other layers."""

    e: np.ndarray
    x: np.ndarray
    before: dict[str, np.ndarray]
    memory: dict[str, Any]
    fired: np.ndarray | None


class Radii:
    """Carries the radii of ``program`` along a replay of it in ``REALS``. ``unknown``: layers without a rule."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.unknown = {layer.name for layer in program.layers if layer.operation.kind not in RULES}
        self._memory: dict[str, dict[str, Any]] = {layer.name: {} for layer in program.layers}
        self._previous: dict[str, np.ndarray] = {}

    def step(self, stepper: Stepper, streams: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Spiking layer -> radius of its u', (B, *shape), in the step that ``stepper`` made; infinite if unknown."""
        radii: dict[str, np.ndarray] = {INPUT: np.zeros_like(streams[INPUT])}
        found = {}
        for layer in self.program.layers:
            name, x = layer.name, stepper.entering[layer.name]
            e = sum((radii[source] for source in layer.inputs), np.zeros_like(x))
            e = e + sum((self._previous.get(source, 0.0) for source in layer.delayed), np.zeros_like(x))
            fired = streams[name] if name in stepper.potentials else None
            entered = Entered(e, x, stepper.started[name], self._memory[name], fired)
            shape = streams[name].shape
            rule = RULES.get(layer.operation.kind)
            radius = np.full(shape, np.inf) if rule is None else np.broadcast_to(rule(layer.operation, entered), shape)
            radii[name] = radius
            if fired is not None:  # spikes are those of the record
                found[name], radii[name] = radius, np.zeros(shape)
        self._previous = {source: radii[source] for source in self.program.delayed_sources}
        return found


def _input(op: FixedInput, c: Entered) -> np.ndarray:
    return 2.0**op.exponent * (c.e + UNIT * np.abs(c.x)) + HALF


def _affine(op: FixedAffine, c: Entered) -> np.ndarray:
    powers = 2.0 ** op.exponent.astype(float)
    size = np.tensordot(powers, np.abs(op.weight.astype(float)), 1)
    bias = 0.0 if op.bias is None else np.abs(op.bias)
    terms = len(op.weight) * (op.weight.shape[1] + 1) + 4
    return np.asarray(c.e @ size + HALF * _floors(powers) + terms * UNIT * (np.abs(c.x) @ size + bias))


def _scale(op: FixedScale, c: Entered) -> np.ndarray:
    powers = 2.0 ** op.exponent.astype(float)
    size = np.tensordot(powers, np.abs(op.weight.astype(float)), 1)
    return np.asarray(size * c.e + HALF * _floors(powers) + 8 * UNIT * size * np.abs(c.x))


def _readout(op: FixedReadout, c: Entered) -> np.ndarray:
    c.memory["sigma"] = c.memory.get("sigma", 0.0) + c.e + 4 * UNIT * (np.abs(c.before["sigma"]) + np.abs(c.x))
    return np.asarray(c.memory["sigma"])


def _floors(powers: np.ndarray) -> int:
    """How many words end in a floor."""
    return int(np.count_nonzero(powers < 1))


def _s4d(op: FixedS4D, c: Entered) -> np.ndarray:
    a_, b_, c_ = (2.0 ** each.astype(float) for each in (op.a_exp, op.b_exp, op.c_exp))
    if "a" not in c.memory:
        c.memory["a"] = np.hypot(1 + np.tensordot(a_, op.a_re, 1), np.tensordot(a_, op.a_im, 1))
        c.memory["b"] = np.hypot(np.tensordot(b_, op.b_re, 1), np.tensordot(b_, op.b_im, 1))
        c.memory["c"] = np.hypot(np.tensordot(c_, op.c_re, 1), np.tensordot(c_, op.c_im, 1))
        c.memory["d"] = np.abs(np.tensordot(c_, op.d, 1))
        # of |Abar - 1| and all words apart, for what float64 rounds
        c.memory["sizes"] = [
            sum(power * np.hypot(re, im) for power, re, im in zip(powers, res, ims, strict=True))
            for powers, res, ims in ((a_, op.a_re, op.a_im), (b_, op.b_re, op.b_im), (c_, op.c_re, op.c_im))
        ]
    a, b, readout, d = (c.memory[name] for name in "abcd")
    return _modes(c, a, b, readout, d, HALF * np.sqrt(2) * (_floors(a_) + _floors(b_)), HALF * _floors(c_))


def _programmed_modes(op: FixedModes, c: Entered) -> np.ndarray:
    if "a" not in c.memory:
        c.memory["a"] = np.hypot(op.a_re, op.a_im) * 2.0**-FRACTION
        c.memory["b"] = np.abs(op.b.astype(float)) * 2.0**op.b_exp
        c.memory["c"] = np.hypot(op.c_re.astype(float), op.c_im) * 2.0**op.c_exp
        c.memory["d"] = np.abs(op.d.astype(float)) * 2.0**op.d_exp
        c.memory["sizes"] = [2 * c.memory["a"], c.memory["b"], 2 * c.memory["c"]]
    a, b, readout, d = (c.memory[name] for name in "abcd")
    # re: two floors apart, and one of what enters; im: two. y: a floor for each mode, and one of D
    return _modes(c, a, b, readout, d, float(np.hypot(3 * HALF, 2 * HALF)), HALF * (len(a) + 1))


def _modes(
    c: Entered, a: np.ndarray, b: np.ndarray, readout: np.ndarray, d: np.ndarray, floors: float, read: float
) -> np.ndarray:
    """Moduli of a diagonal SSM: floors of the complex state add ``floors`` a step, those of the readout ``read``."""
    sizes, x = c.memory["sizes"], np.abs(c.x)
    state = np.hypot(c.before["re"], c.before["im"])
    after = (1 + sizes[0]) * state + sizes[1] * x[:, None] + 8
    h = c.memory["h"] = a * c.memory.get("h", np.zeros_like(state)) + b * c.e[:, None] + floors + 40 * UNIT * after
    size = (sizes[2] * after).sum(axis=1) + d * x
    return np.asarray((readout * h).sum(axis=1) + d * c.e + read + (len(a) + 12) * UNIT * size)


def _decaying(name: str, decay: Any, c: Entered) -> np.ndarray:
    """Radius of what is left of a state after its decay toward zero."""
    return np.asarray(decay * c.memory.get(name, np.zeros_like(c.x)) + TOWARD_ZERO + UNIT * 2**30)


def _activation(op: Any, c: Entered) -> np.ndarray:
    """Radius of what an activation adds; infinite where it may wrap."""
    unit = 2.0**ALIGN
    return np.where((np.abs(c.x) + c.e) * unit >= MESSAGE, np.inf, c.e * unit)


def _lif(op: FixedLIF, c: Entered) -> np.ndarray:
    radius = _decaying("v", (4096 - op.dv) / 4096, c) + (_activation(op, c) if op.align else c.e)
    radius = radius + (0.0 if op.bias is None or op.bias_exp >= 0 else HALF)
    c.memory["v"] = np.where(c.fired != 0, 0.0, radius)
    return radius


def _programmed(op: FixedProgrammedLIF, c: Entered) -> np.ndarray:
    radius = _decaying("v", (4096 - op.dv) / 4096, c) + 2.0**ALIGN * c.e
    if isinstance(op, FixedRefractoryLIF):
        radius = radius + c.memory.get("r", 0.0)
        c.memory["r"] = _decaying("r", (4096 - op.dr) / 4096, c)
        c.memory["v"] = radius
    else:
        c.memory["v"] = radius if op.soft else np.where(c.fired != 0, 0.0, radius)
    return radius


def _integrate(op: FixedIF, c: Entered) -> np.ndarray:
    radius = c.memory.get("u", 0.0) + c.e
    c.memory["u"] = radius if op.soft else np.where(c.fired != 0, 0.0, radius)
    return np.asarray(radius)


def _several(op: MultiSpikeIF, c: Entered) -> np.ndarray:
    """The numbers that it sent are those of the record, and its floor brings no two potentials further apart."""
    c.memory["u"] = c.memory.get("u", 0.0) + c.e
    return np.asarray(c.memory["u"])


def _matrix(op: Affine, c: Entered) -> np.ndarray:
    size, bias = np.abs(op.weight.astype(float)).T, 0.0 if op.bias is None else np.abs(op.bias)
    return np.asarray(c.e @ size + (len(size) + 4) * UNIT * _fractions(op, c) * (np.abs(c.x) @ size + bias))


def _fractions(op: Any, c: Entered) -> float:
    """1 where what enters, or a weight, isn't a whole number, so that float64 may round their sum; else 0."""
    return float(any((array != np.floor(array)).any() for array in (c.x, *op.arrays().values())))


def _whole(op: Any, c: Entered) -> np.ndarray:
    """Sums of whole numbers that nothing was taken from: no radius. With one, none is known."""
    if not c.e.any() and not _fractions(op, c):
        return np.zeros(1)
    return np.full(1, np.inf)


RULES: dict[str, Callable[..., np.ndarray]] = {
    "fixed_input": _input,
    "fixed_affine": _affine,
    "fixed_scale": _scale,
    "fixed_readout": _readout,
    "fixed_s4d": _s4d,
    "fixed_s4d_modes": _programmed_modes,
    "fixed_lif": _lif,
    "fixed_lif_programmed": _programmed,
    "fixed_lif_refractory": _programmed,
    "fixed_if": _integrate,
    "if_several": _several,
    "affine": _matrix,
    "join": lambda op, c: c.e + 8 * UNIT * _fractions(op, c) * np.abs(c.x),
    "flatten": lambda op, c: op.step(np, {}, c.e)[1],
    **dict.fromkeys(("conv1d", "conv2d", "sum_pool2d", "reshape", "pad"), _whole),
}
