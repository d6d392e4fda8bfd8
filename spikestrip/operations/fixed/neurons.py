"""The hard-reset LIF of stock Lava, in integers, and its synaptic current."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, SpikingOperation, State
from spikestrip.operations.fixed.words import MESSAGE, FixedOperation, int32, outside, toward_zero

ALIGN = 6
"""Activations and thresholds stand 6 bits higher than potentials (``act_shift``, ``vth_shift``)."""
ACTIVATION = 1 << 15
"""An activation has 16 bits with its sign; stock Lava doesn't check it."""
RAIL = MESSAGE - 1
"""A potential is clipped there."""


def _wrapped(xp: ModuleType, u: Array) -> Array:
    """A current, in int32, beyond 24 bits wraps once; +2^23 itself stays, as stock LIF's tests have it."""
    u = int32(xp, u)
    over = xp.astype(u > MESSAGE, u.dtype)
    under = xp.astype(u <= -MESSAGE, u.dtype)
    return u - 2 * MESSAGE * over + 2 * MESSAGE * under


def _wraps(u: np.ndarray) -> np.ndarray:
    """(B,) how many of (B, ...) wrap."""
    wrapped: np.ndarray = np.count_nonzero(((u > MESSAGE) | (u <= -MESSAGE)).reshape(u.shape[0], -1), axis=1)
    return wrapped


@dataclasses.dataclass(eq=False)
class FixedCurrent(FixedOperation):
    """u[t] = wrap(trunc0(u[t-1]*(4095 - du) / 4096) + (a[t] << 6)): stock LIF's current, in 64ths of an activation.

    A FixedLIF with ``align`` 0 reads it. du: 0..4095.
    """

    kind: ClassVar[str] = "fixed_current"
    du: int

    def __post_init__(self) -> None:
        if not 0 <= self.du <= 4095:
            raise BadInput(self.kind, f"du is {self.du}, not one of 0..4095")

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        u = _wrapped(xp, toward_zero(xp, state["u"] * (4095 - self.du)) + x * 2**ALIGN)
        return {"u": u}, u

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        raw = toward_zero(np, state["u"] * (4095 - self.du)) + x * 2**ALIGN
        lost: np.ndarray = outside(x, ACTIVATION) + _wraps(raw)
        return lost

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        size = int(np.prod(x.shape[1:]))
        return {"state_macs": size, "state_updates": size}


@dataclasses.dataclass(eq=False)
class FixedLIF(FixedOperation, SpikingOperation):
    """Stock LIF with hard reset to 0 and no memory in its current (du 4095; else a FixedCurrent stands before it).

    u[t] = wrap(a[t] << align);  v'[t] = clip(trunc0(v[t-1]*(4096 - dv) / 4096) + u[t] + b);  b = bias << bias_exp
    s = (v' > vth << 6);  v = 0 where s = 1, else v'

    dv: 0..4095; vth: 0..2^17 - 1; bias: one integer of 13 bits per neuron, or None; bias_exp: -7..7, an arithmetic
    shift; align: 6, or 0 behind a FixedCurrent.
    """

    kind: ClassVar[str] = "fixed_lif"
    dv: int
    vth: int
    bias: np.ndarray | None = None
    bias_exp: int = 0
    align: int = ALIGN

    def __post_init__(self) -> None:
        if not (0 <= self.dv <= 4095 and 0 <= self.vth < 1 << 17):
            raise BadInput(self.kind, f"dv {self.dv} or vth {self.vth} is not of 12 and 17 bits")
        if self.align not in (0, ALIGN) or not -7 <= self.bias_exp <= 7:
            raise BadInput(self.kind, f"align {self.align} is not 0 or {ALIGN}, or bias_exp {self.bias_exp} not -7..7")
        if isinstance(self.bias, np.ndarray) and (np.abs(self.bias + 0.5) > 4096).any():
            raise BadInput(self.kind, "a bias is not of 13 bits")
        self._gain = 2.0**self.bias_exp

    def output_shape(self, shape: Shape) -> Shape:
        if self.bias is not None:
            self._fit(shape, self.bias.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"v": shape}

    def _raw(self, xp: ModuleType, state: State, x: Array) -> Array:
        u = _wrapped(xp, x * 2**self.align) if self.align else x
        v = toward_zero(xp, state["v"] * (4096 - self.dv)) + u
        return v if self.bias is None else v + xp.floor(self.bias * self._gain)

    def constants(self, size: int) -> tuple[float, float, np.ndarray, float, float]:
        """dv, vth, the shifted bias (size,), 2^align and the rail: what the compiled loop takes."""
        drive = np.zeros(size) if self.bias is None else np.floor(self.bias.ravel() * self._gain)
        return float(self.dv), float(self.vth), drive, 2.0**self.align, float(RAIL)

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return xp.clip(self._raw(xp, state, x), -RAIL, RAIL)

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - (self.vth * 2**ALIGN + 1)  # whole numbers: > is >= one more

    def fire(self, state: State, potential: Array) -> Array:
        return potential > self.vth * 2**ALIGN

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return {"v": potential * (1 - spikes)}

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        clipped = outside(self._raw(np, state, x), MESSAGE)
        if not self.align:
            return clipped  # FixedCurrent counts its own
        lost: np.ndarray = clipped + outside(x, ACTIVATION) + _wraps(x * 2**self.align)
        return lost

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        size = int(np.prod(x.shape[1:]))
        return {"state_macs": size, "state_updates": size}
