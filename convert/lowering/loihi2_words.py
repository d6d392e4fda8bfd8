"""Real matrices as sums of 8-bit words with power-of-two exponents, and what that costs them."""

from __future__ import annotations

import math

import numpy as np

HARDWARE_EXPONENTS = range(-8, 8)
"""Those that a chip is said to take; lava-nc takes any."""
LARGEST = 254
"""Of a word with mixed signs, symmetric."""


def words(values: np.ndarray, count: int, scale: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """``count`` words (count, *shape) int16 of even integers and exponents (count,) int8, least first error.

    values: reals in units of the output's integers for one unit of the input's; the first word's exponent is the least
    at which the largest value fits, and each further word holds what is left. Raises nothing: exponents below -30 are
    held at -30.
    """
    left = np.asarray(values, np.float64)
    made, exponents = [], []
    for _ in range(count):
        largest = np.abs(left).max(initial=0.0)
        exponent = max(-30, math.ceil(math.log2(largest / LARGEST))) if largest > 0 else 0
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
