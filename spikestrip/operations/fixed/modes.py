"""The diagonal state-space model as programmable neurons, one for each mode, which keep their state to themselves."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, State, tree_sum
from spikestrip.operations.fixed.words import EXPONENT, MESSAGE, FixedOperation, outside

FRACTION = 15
"""Fraction bits of A."""
ONE = 1 << FRACTION


@dataclasses.dataclass(eq=False)
class FixedModes(FixedOperation):
    """Diagonal SSM, a programmable neuron for each mode of each channel; only what a mode adds to y is sent.

    re[t] = (a_re re[t-1] >> 15) - (a_im im[t-1] >> 15) + round(b x[t] * 2^b_exp)
    im[t] = (a_im re[t-1] >> 15) - (-a_re im[t-1] >> 15)
    y[t]  = sum over modes of round((c_re re[t] + c_im im[t]) * 2^c_exp)  +  round(d x[t] * 2^d_exp)

    >> is floor; a floor subtracted from a floor takes nothing away on the average. round(z) = floor(z + 1/2). B stands
    in c (y needs the product C B alone), so b is real, and only scales. a_*, b, c_*: (N, H) int16, modes first;
    d: (H,) int16. |A| < 1.
    """

    kind: ClassVar[str] = "fixed_s4d_modes"
    a_re: np.ndarray
    a_im: np.ndarray
    b: np.ndarray
    c_re: np.ndarray
    c_im: np.ndarray
    d: np.ndarray
    b_exp: int
    c_exp: int
    d_exp: int

    def __post_init__(self) -> None:
        if any(array.dtype != np.int16 for array in self.arrays().values()):
            raise BadInput(self.kind, "coefficients are int16")
        if any(abs(exponent) > EXPONENT for exponent in (self.b_exp, self.c_exp, self.d_exp)):
            raise BadInput(self.kind, f"exponents are from -{EXPONENT} to {EXPONENT}")
        square = self.a_re.astype(np.int64) ** 2 + self.a_im.astype(np.int64) ** 2
        if (square >= ONE**2).any():
            raise BadInput(self.kind, f"{np.count_nonzero(square >= ONE**2)} modes have |A| >= 1: they would grow")
        self._b, self._c, self._d = (2.0**exponent for exponent in (self.b_exp, self.c_exp, self.d_exp))

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.d.shape)
        modes = self.a_re.shape
        if len(modes) != 2 or modes[0] == 0 or modes[1:] != self.d.shape:
            raise BadInput(self.kind, f"a_re is {modes}, not (N, {shape[0]})")
        for name in ("a_im", "b", "c_re", "c_im"):
            if getattr(self, name).shape != modes:
                raise BadInput(self.kind, f"{name} is {getattr(self, name).shape}, not {modes}")
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"re": self.a_re.shape, "im": self.a_re.shape}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        state = self._advance(xp, state, x)
        through = xp.floor(self.d * x * self._d + 0.5)
        return state, tree_sum(xp, self._sent(xp, state)) + through

    def _advance(self, xp: ModuleType, state: State, x: Array) -> State:
        re, im = state["re"], state["im"]
        entering = xp.floor(self.b * x[:, None, :] * self._b + 0.5)
        return {
            "re": xp.floor(self.a_re * re * 2.0**-FRACTION) - xp.floor(self.a_im * im * 2.0**-FRACTION) + entering,
            "im": xp.floor(self.a_im * re * 2.0**-FRACTION) - xp.floor(self.a_re * im * -(2.0**-FRACTION)),
        }

    def _sent(self, xp: ModuleType, state: State) -> Array:
        """(B, N, H): the message of each mode."""
        return xp.floor((self.c_re * state["re"] + self.c_im * state["im"]) * self._c + 0.5)

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        after = self._advance(np, state, x)
        total: np.ndarray = outside(x, MESSAGE) + outside(self.step(np, state, x)[1], MESSAGE)
        for values in (after["re"], after["im"], self._sent(np, after)):
            total = total + outside(values, MESSAGE)
        return total

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # of each mode: four products of the recurrence, one of the input and two of the readout; and D
        return {"state_macs": 7 * self.a_re.size + self.d.size, "state_updates": 2 * self.a_re.size}
