"""Reals as integers of stock Lava, once their scales are known: the one place where a lowering and training round.

``Make``: (name of a matrix, its reals in units of integers) -> words (K, *shape) int16 and exponents (K,) int8.
Which exponents it takes, chosen or held, is its own affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from spikestrip.operations.fixed.linear import FixedAffine, FixedScale
from spikestrip.operations.fixed.neurons import FixedLIF
from spikestrip.operations.fixed.ssm import FixedS4D
from spikestrip.operations.fixed.words import EXPONENT

HARDWARE_EXPONENTS = range(-8, 8)
"""Those that a chip is said to take; lava-nc takes any."""
LARGEST = 254
"""Of a word with mixed signs, symmetric."""

Make = Callable[[str, np.ndarray], tuple[np.ndarray, np.ndarray]]


def words(values: np.ndarray, count: int, held: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """``count`` words (count, *shape) int16 of even integers and exponents (count,) int8, least first error.

    values: reals in units of the output's integers for one unit of the input's. The first word's exponent is the least
    at which the largest value fits, and each further word holds what is left; or the exponents are those ``held``, and
    what doesn't fit is clipped. Raises nothing: exponents below -EXPONENT are held there.
    """
    left = np.asarray(values, np.float64)
    made, exponents = [], []
    for number in range(count):
        if held is not None:
            exponent = held[number]
        else:
            largest = np.abs(left).max(initial=0.0)
            exponent = max(-EXPONENT, math.ceil(math.log2(largest / LARGEST))) if largest > 0 else 0
        word = np.clip(2 * np.rint(left * 2.0**-exponent / 2), -LARGEST, LARGEST)
        made.append(word.astype(np.int16))
        exponents.append(exponent)
        left = left - word * 2.0**exponent
    return np.stack(made), np.array(exponents, np.int8)


def value(word: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The real matrix that words stand for."""
    return np.tensordot(2.0 ** exponent.astype(float), word.astype(float), 1)


def floors(exponent: np.ndarray) -> int:
    """How many words round down: each takes half a unit away on the average."""
    return int(np.count_nonzero(exponent < 0))


def affine(weight: np.ndarray, bias: np.ndarray | None, make: Make) -> FixedAffine:
    """weight (out, in) and bias (out,) in integers' units; the bias makes up for what the floors take."""
    made, exponent = make("weight", weight.T)
    lifted = (np.zeros(len(weight)) if bias is None else bias) + floors(exponent) / 2
    return FixedAffine(made, exponent, np.rint(lifted).astype(np.int32))


def scale(factor: np.ndarray, make: Make) -> FixedScale:
    """factor (*shape) in integers' units."""
    return FixedScale(*make("scale", factor))


def s4d(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, make: Make) -> FixedS4D:
    """a: Abar (N, H) complex; b: Bbar (N, H) complex, from the input's units to the states'; c: (N, H) complex, from
    the states' units to the output's, with y = 2 Re sum c h; d (H,), from the input's units to the output's."""
    made_a, a_exp = make("A - 1", np.stack([a.real - 1, a.imag]))
    made_a[:, 0] = _stable(made_a, a_exp)
    made_b, b_exp = make("B", np.stack([b.real, b.imag]))
    read = np.stack([c.real, -c.imag]) * 2
    made_c, c_exp = make("C, D", np.concatenate([read.reshape(-1, d.size), d[None]]))
    both = made_c[:, :-1].reshape(len(c_exp), 2, *a.shape)
    rounding = round((floors(a_exp) + floors(b_exp)) / 2)
    return FixedS4D(
        made_a[:, 0], made_a[:, 1], a_exp, made_b[:, 0], made_b[:, 1], b_exp, both[:, 0], both[:, 1], made_c[:, -1],
        c_exp, rounding,
    )  # fmt: skip


def lif(decay: float, unit: int, before: FixedS4D | FixedAffine) -> FixedLIF:
    """Of the common threshold ``unit``. What the floors of an SSM's readout take from the membrane, the threshold
    gives back; an affine's bias has made up for its own."""
    lost = 0
    if isinstance(before, FixedS4D) and decay < 1:
        lost = round(floors(before.c_exp) / 2 / (1 - decay))
    return FixedLIF(min(round(4096 * (1 - decay)), 4095), unit - lost)


def _stable(a: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The real parts (K, N, H), lowered in their last word where rounding brought |A| to 1 or beyond."""
    real: np.ndarray = a[:, 0].copy()
    for _ in range(4):
        grows = np.abs(1 + value(real, exponent) + 1j * value(a[:, 1], exponent)) >= 1
        real[-1] = np.clip(real[-1] - 2 * grows, -LARGEST, LARGEST)
    return real
