"""From a float program to the integers of programmable neurons: SSMs by mode, soft-reset and refractory neurons.

Streams, synapses and the readout are those of the stock mapping; what is a programmable neuron is lowered here.
"""

from __future__ import annotations

import math

import numpy as np

from convert.lowering.loihi2 import Choice, Lowered, Lowering, Words
from spikestrip.operations import LIF, S4D, FixedModes, FixedProgrammedLIF, FixedRefractoryLIF, Operation, RefractoryLIF
from spikestrip.operations.fixed.modes import FRACTION, ONE
from spikestrip.operations.fixed.neurons import ALIGN, RAIL
from spikestrip.program import Layer, Program

STATE = 1 << 21  # that the largest measured state may take, turned as it may be: a quarter of 24 bits with the sign
COEFFICIENT = (1 << 15) - 1
STRENGTH = (1 << 17) - 1  # of an inhibition


def microcode(program: Program, calibration: np.ndarray, weights: int = 2) -> Lowered:
    """``program`` in integers of programmable neurons, its synapses in ``weights`` 8-bit words.

    Ranges are measured on ``calibration`` (B, T, *input_shape). Raises Refused, naming the layer and the reason.
    """
    return _Microcode(program, calibration, Words(weights=weights)).result()


class _Microcode(Lowering):
    mapping = "microcode"

    def _unit(self, name: str, operation: LIF | RefractoryLIF) -> int:
        """As large as activations, the membrane, and what inhibits it allow."""
        threshold, held = operation.threshold, self.ranges.membranes[name]
        room = (RAIL >> ALIGN) / 2
        limits = [super()._unit(name, operation), room / (held["u"] / threshold + 1).max()]
        if isinstance(operation, RefractoryLIF):
            strength = operation.inhibition / threshold
            limits += [room / max((strength * held["r"]).max(), 1e-9), STRENGTH / max(strength.max(), 1e-9)]
        return int(min(limits))

    def _neuron(self, name: str, operation: LIF | RefractoryLIF) -> Operation:
        unit = self.scales.units[name]
        dv = self._decay(name, "decay", operation.decay)
        vth = np.full(operation.decay.shape, unit, np.int32)
        if isinstance(operation, LIF):
            return FixedProgrammedLIF(dv, vth, operation.reset_kind == "soft")
        inhibition = np.rint(operation.inhibition / operation.threshold * unit).astype(np.int32)
        dr = self._decay(name, "decay_r", operation.decay_r)
        return FixedRefractoryLIF(dv, vth, operation.soft, dr, inhibition)

    def _decay(self, name: str, which: str, decay: np.ndarray) -> np.ndarray:
        made = np.clip(np.rint(4096 * (1 - decay)), 0, 4095)
        off = float(np.abs(1 - made / 4096 - decay).max())
        if off:
            self.remarks.append(f"{name}: {which} is off by up to {off:.1e}: it has 12 bits")
        return made.astype(np.int16)

    def _s4d(self, layer: Layer, operation: S4D, entering: float, factor: np.ndarray) -> Operation:
        name = layer.name
        a = operation.a_re + 1j * operation.a_im
        b = operation.b_re + 1j * operation.b_im
        # the state without B, which turns and scales it: at most sqrt(2) times the larger of re and im
        driven = np.where(b != 0, math.sqrt(2) * self.ranges.modes[name] / np.maximum(np.abs(b), 1e-300), 1.0)
        gain = np.floor(np.log2(STATE / np.maximum(driven, 1e-12))) - math.log2(entering)
        lowest = math.floor(gain.min())
        gain = np.minimum(gain - lowest, FRACTION - 1)  # b has 15 bits without the sign
        scale = 2.0 ** (gain + lowest) * entering
        product = 2 * b * (operation.c_re + 1j * operation.c_im) / scale * factor
        both, c_exp = self._coefficients(name, "C B", np.stack([product.real, -product.imag]))
        d, d_exp = self._coefficients(name, "D", operation.d * factor / entering)
        a_re, a_im = self._stable(name, a)
        return FixedModes(a_re, a_im, (2.0**gain).astype(np.int16), both[0], both[1], d, lowest, c_exp, d_exp)

    def _stable(self, name: str, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Re and Im of A with 15 fraction bits, toward zero where the nearest would reach |A| = 1."""
        parts = np.stack([a.real, a.imag]) * ONE
        grows = (np.rint(parts) ** 2).sum(axis=0) >= ONE**2
        made = np.where(grows, np.trunc(parts), np.rint(parts))
        off = np.abs((made[0] + 1j * made[1]) / ONE - a)
        self.choices.append(Choice(name, "A", (-FRACTION,), float(off.max() / np.abs(a).max())))
        self.remarks.append(f"{name}: A is off by up to {(off / (1 - np.abs(a))).max():.1%} of a mode's 1 - |A|")
        return made[0].astype(np.int16), made[1].astype(np.int16)

    def _coefficients(self, name: str, matrix: str, values: np.ndarray) -> tuple[np.ndarray, int]:
        """16-bit integers with one exponent."""
        largest = np.abs(values).max()
        exponent = max(-30, math.ceil(math.log2(largest / COEFFICIENT))) if largest > 0 else 0
        made = np.rint(values * 2.0**-exponent)
        error = np.abs(made * 2.0**exponent - values).max() / max(largest, 1e-300)
        self.choices.append(Choice(name, matrix, (exponent,), float(error)))
        return made.astype(np.int16), exponent
