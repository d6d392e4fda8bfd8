"""The diagonal state-space model, one step at a time."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State, tree_sum


@dataclasses.dataclass(eq=False)
class S4D(Operation):
    """Diagonal SSM (S4D, Gu et al. 2022), discretised; complex numbers are pairs of reals, conjugate pairs folded.

    h[t] = Abar*h[t-1] + Bbar*x[t];  y[t] = 2*Re(sum_n C_n h_n[t]) + D*x[t]

    a_re, a_im, b_re, b_im, c_re, c_im: (N, H) float64, modes first; d: (H,) float32.
    The sum over modes is a halving-tree sum.
    """

    kind: ClassVar[str] = "s4d"
    counts_values: ClassVar[bool] = False
    a_re: np.ndarray
    a_im: np.ndarray
    b_re: np.ndarray
    b_im: np.ndarray
    c_re: np.ndarray
    c_im: np.ndarray
    d: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.d.shape)
        modes = self.a_re.shape
        if len(modes) != 2 or modes[0] == 0 or modes[1:] != self.d.shape:
            raise BadInput(self.kind, f"a_re is {modes}, not (N, {shape[0]})")
        for name, array in self.arrays().items():
            if name != "d" and array.shape != modes:
                raise BadInput(self.kind, f"{name} is {array.shape}, not {modes}")
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"re": self.a_re.shape, "im": self.a_re.shape}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        u = x[:, None, :]
        re = self.a_re * state["re"] + (self.b_re * u - self.a_im * state["im"])
        im = self.a_re * state["im"] + (self.b_im * u + self.a_im * state["re"])
        y = tree_sum(xp, 2 * self.c_re * re - 2 * self.c_im * im)
        return {"re": re, "im": im}, y + self.d * x

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # for each mode 4 multiplications for Abar*h, 2 for Bbar*x, 2 for Re(C*h); for each channel 1 for D*x
        modes = self.a_re.size
        return {"state_macs": 8 * modes + self.d.size, "state_updates": 2 * modes}
