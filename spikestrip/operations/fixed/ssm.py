"""The diagonal state-space model in integers."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, State, tree_sum
from spikestrip.operations.fixed.words import (
    ACCUMULATOR,
    EXACT,
    MESSAGE,
    FixedOperation,
    int32,
    message,
    outside,
    powers,
    shifted,
)


@dataclasses.dataclass(eq=False)
class FixedS4D(FixedOperation):
    """Diagonal SSM as a stock GradedVec with recurrent Sparse holds it; a shift to the right is floor, of each sum.

    Sums and shifts wrap in int32, and a GradedVec's sum of -2^31 is sent, and held, as 0.

    re[t] = re[t-1] + sum_k (a_re_k re[t-1] - a_im_k im[t-1]) << a_exp_k + sum_k (b_re_k x[t]) << b_exp_k + rounding
    im[t] = im[t-1] + sum_k (a_im_k re[t-1] + a_re_k im[t-1]) << a_exp_k + sum_k (b_im_k x[t]) << b_exp_k + rounding
    y[t]  = sum_k (sum_n c_re_k re[t] + c_im_k im[t] + d_k x[t]) << c_exp_k

    The words of a are those of Abar - 1; c_im is -2 Im C times its scale. a_*, b_*, c_*: (K, N, H) even integers in
    -254..254, modes second; d: (K, H); *_exp: (K,). ``rounding``: what the floors take away on the average.
    """

    kind: ClassVar[str] = "fixed_s4d"
    a_re: np.ndarray
    a_im: np.ndarray
    a_exp: np.ndarray
    b_re: np.ndarray
    b_im: np.ndarray
    b_exp: np.ndarray
    c_re: np.ndarray
    c_im: np.ndarray
    d: np.ndarray
    c_exp: np.ndarray
    rounding: int = 0

    def __post_init__(self) -> None:
        for name, exponent in zip(
            ("a_re", "a_im", "b_re", "b_im", "c_re", "c_im", "d"),
            (self.a_exp, self.a_exp, self.b_exp, self.b_exp, self.c_exp, self.c_exp, self.c_exp),
            strict=True,
        ):
            self._check_words(name, getattr(self, name), exponent, mixed=True)
        self._a, self._b, self._c = powers(self.a_exp), powers(self.b_exp), powers(self.c_exp)
        decay = 1 + np.tensordot(self._a, self.a_re, 1) + 1j * np.tensordot(self._a, self.a_im, 1)
        if not (np.abs(decay) < 1).all():
            raise BadInput(self.kind, f"{np.count_nonzero(np.abs(decay) >= 1)} modes have |A| >= 1: they would grow")

    def output_shape(self, shape: Shape) -> Shape:
        self._fit(shape, self.d.shape[1:])
        modes = self.a_re.shape[1:]
        if len(modes) != 2 or modes[0] == 0 or modes[1:] != self.d.shape[1:]:
            raise BadInput(self.kind, f"a_re is {self.a_re.shape}, not (K, N, {shape[0]})")
        for name in ("a_im", "b_re", "b_im", "c_re", "c_im"):
            if getattr(self, name).shape[1:] != modes:
                raise BadInput(self.kind, f"{name} is {getattr(self, name).shape}, not (K, {modes[0]}, {modes[1]})")
        if (2 * modes[0] + 1) * 254 * ACCUMULATOR >= EXACT:
            raise BadInput(self.kind, "adds so many products that float64 can't hold the sum of 32-bit messages")
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"re": self.a_re.shape[1:], "im": self.a_re.shape[1:]}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        x = message(xp, x)
        re, im = self._advance(xp, state, x)
        state = {"re": message(xp, re), "im": message(xp, im)}
        return state, int32(xp, self._sum(xp, state, x))

    def _advance(self, xp: ModuleType, state: State, x: Array) -> tuple[Array, Array]:
        u, old_re, old_im = x[:, None, :], state["re"], state["im"]
        re, im = (old_re, old_im) if not self.rounding else (old_re + self.rounding, old_im + self.rounding)
        for k, power in enumerate(self._a):
            a_re, a_im = self.a_re[k], self.a_im[k]
            re = re + shifted(xp, a_re * old_re - a_im * old_im, power)
            im = im + shifted(xp, a_im * old_re + a_re * old_im, power)
        for k, power in enumerate(self._b):
            re = re + shifted(xp, self.b_re[k] * u, power)
            im = im + shifted(xp, self.b_im[k] * u, power)
        return re, im

    def _sum(self, xp: ModuleType, state: State, x: Array) -> Array:
        y = shifted(xp, self._read(xp, state, x, 0), self._c[0])
        for k in range(1, len(self._c)):
            y = y + shifted(xp, self._read(xp, state, x, k), self._c[k])
        return y

    def _read(self, xp: ModuleType, state: State, x: Array, k: int) -> Array:
        return tree_sum(xp, self.c_re[k] * state["re"] + self.c_im[k] * state["im"]) + self.d[k] * x

    def scaled(self) -> tuple[np.ndarray, ...]:
        """a_re, a_im, b_re, b_im, c_re, c_im and d in float64, each word times 2^(its exponent): exact."""
        words = ((self._a, self.a_re, self.a_im), (self._b, self.b_re, self.b_im), (self._c, self.c_re, self.c_im))
        made = [np.reshape(two, (-1, 1, 1)) * word for two, *both in words for word in both]
        return *made, np.reshape(self._c, (-1, 1)) * self.d

    def holds(self, states: np.ndarray, reads: np.ndarray, x: float, y: float) -> bool:
        """Whether no sum of a run left int32, so that nothing wrapped.

        Magnitudes that were not exceeded: states (N, H), reads (K,) each word's scaled readout, what entered, and y.
        """
        worst = [states.max(initial=0), x, y]
        for power, re, im in zip(self._a, self.a_re, self.a_im, strict=True):
            worst.append(((np.abs(re) + np.abs(im)) * states).max() * max(power, 1.0))
        for power, re, im in zip(self._b, self.b_re, self.b_im, strict=True):
            worst.append(max(np.abs(re).max(), np.abs(im).max()) * x * max(power, 1.0))
        worst += [read / min(power, 1.0) for power, read in zip(self._c, reads, strict=True)]
        return all(value < ACCUMULATOR for value in worst)

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        total: np.ndarray = outside(x, MESSAGE)
        x = message(np, x)
        re, im = self._advance(np, state, x)
        after = {"re": message(np, re), "im": message(np, im)}
        total = total + outside(re, MESSAGE) + outside(im, MESSAGE)
        total = total + outside(self._sum(np, after, x), ACCUMULATOR)
        for k, power in enumerate(self._a):
            one = self.a_re[k] * state["re"] - self.a_im[k] * state["im"]
            two = self.a_im[k] * state["re"] + self.a_re[k] * state["im"]
            total = total + outside(one * max(power, 1.0), ACCUMULATOR) + outside(two * max(power, 1.0), ACCUMULATOR)
        for k, power in enumerate(self._c):
            read = self._read(np, after, x, k)
            total = total + outside(read * max(power, 1.0), ACCUMULATOR)
        for k, power in enumerate(self._b):
            most = np.maximum(np.abs(self.b_re[k]), np.abs(self.b_im[k])).max(axis=0) * max(power, 1.0)
            total = total + outside(most * x, ACCUMULATOR)
        return total

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # the nonzero weights of the recurrence and the readout are reached by states in every step
        words = 2 * (np.count_nonzero(self.a_re) + np.count_nonzero(self.a_im))
        words += sum(np.count_nonzero(w) for w in (self.b_re, self.b_im, self.c_re, self.c_im, self.d))
        return {"state_macs": int(words), "state_updates": 2 * self.a_re[0].size}
