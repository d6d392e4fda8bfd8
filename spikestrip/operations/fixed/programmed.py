"""Programmable neurons in integers: soft reset, and refractory. The arithmetic is ours, in stock LIF's widths.

Decays have 12 bits, thresholds 17, membranes 24; activations and thresholds stand 6 bits higher, as in stock LIF. That
a chip's microcode would do the same with the last bits is an assumption (docs/loihi2.md).
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, SpikingOperation, State
from spikestrip.operations.fixed.neurons import ACTIVATION, ALIGN, RAIL
from spikestrip.operations.fixed.words import MESSAGE, FixedOperation, outside, toward_zero

UNIT = 1 << ALIGN


@dataclasses.dataclass(eq=False)
class FixedProgrammedLIF(FixedOperation, SpikingOperation):
    """LIF whose reset is soft or hard and whose neurons each have a decay and a threshold of their own.

    v'[t] = clip(trunc0(v[t-1]*(4096 - dv) / 4096) + (a[t] << 6));  s = (v' > vth << 6)
    soft:  v = v' - (vth << 6)*s;   else v = 0 where s = 1, v' elsewhere

    dv: 0..4095; vth: 0..2^17 - 1: whole numbers, one per neuron, of the input's shape.
    """

    kind: ClassVar[str] = "fixed_lif_programmed"
    dv: np.ndarray
    vth: np.ndarray
    soft: bool

    def __post_init__(self) -> None:
        self._check("dv", self.dv, 1 << 12)
        self._check("vth", self.vth, 1 << 17)

    def _check(self, name: str, values: np.ndarray, limit: int) -> None:
        if values.dtype.kind != "i" or (values < 0).any() or (values >= limit).any():
            raise BadInput(self.kind, f"{name} needs whole numbers from 0 to {limit - 1}")

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"v": shape}

    def _raw(self, xp: ModuleType, state: State, x: Array) -> Array:
        return toward_zero(xp, state["v"] * (4096 - self.dv)) + x * UNIT

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return xp.clip(self._raw(xp, state, x), -RAIL, RAIL)

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - (self.vth * UNIT + 1)  # whole numbers: > is >= one more

    def fire(self, state: State, potential: Array) -> Array:
        return potential > self.vth * UNIT

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return {"v": potential - self.vth * UNIT * spikes if self.soft else potential * (1 - spikes)}

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        lost: np.ndarray = outside(x, ACTIVATION) + outside(self._raw(np, state, x), MESSAGE)
        return lost

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        return {"state_macs": self.dv.size, "state_updates": self.dv.size}


@dataclasses.dataclass(eq=False)
class FixedRefractoryLIF(FixedProgrammedLIF):
    """The refractory LIF (``lif_refractory``), whose inhibition decays and grows in the membrane's own units.

    v'[t] = clip(trunc0(v[t-1]*(4096 - dv) / 4096) + (a[t] << 6) - r[t]);  s = (v' > vth << 6)
    v = v' - (vth << 6)*s if ``soft``, else v'
    r[t+1] = min(trunc0(r[t]*(4096 - dr) / 4096) + (inhibition << 6)*s, 2^23 - 1)

    dv, dr: 0..4095; vth, inhibition: 0..2^17 - 1: whole numbers, one per neuron, of the input's shape.
    """

    kind: ClassVar[str] = "fixed_lif_refractory"
    dr: np.ndarray
    inhibition: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("dr", self.dr, 1 << 12)
        self._check("inhibition", self.inhibition, 1 << 17)

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"v": shape, "r": shape}

    def _raw(self, xp: ModuleType, state: State, x: Array) -> Array:
        return super()._raw(xp, state, x) - state["r"]

    def _inhibited(self, xp: ModuleType, state: State, spikes: Array) -> Array:
        return toward_zero(xp, state["r"] * (4096 - self.dr)) + self.inhibition * UNIT * spikes

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        v = potential - self.vth * UNIT * spikes if self.soft else potential
        return {"v": v, "r": xp.clip(self._inhibited(xp, state, spikes), -RAIL, RAIL)}

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        spikes = self.fire(state, self.integrate(np, state, x)).astype(np.float64)
        lost: np.ndarray = super().exceeded(state, x) + outside(self._inhibited(np, state, spikes), MESSAGE)
        return lost

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # both decays, and the inhibition that is added
        return {"state_macs": 3 * self.dv.size, "state_updates": 2 * self.dv.size}
