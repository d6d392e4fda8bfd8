"""Integers that ride in float64, weights as 8-bit words, and the widths beyond which a value counts as saturated.

Every value is a whole number below 2^53 in magnitude, where float64 arithmetic is exact: a shift to the right is
floor(x * 2^-k), as an arithmetic shift of two's complement. Sums wrap as stock Lava's int32 does. What leaves a width
that stock Lava or Loihi 2 has is an event of the ledger (``saturations``), never silent.
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, State

MESSAGE = 1 << 23
"""A graded message, and a state, has 24 bits with its sign."""
ACCUMULATOR = 1 << 31
"""Stock processes add in int32, which wraps silently; so do we, and count it."""
EXACT = 1 << 53
EXPONENT = 30
"""The largest that is held, up or down."""


def held(weight: np.ndarray) -> np.ndarray:
    """What stock Dense makes of integer weights (8 bits): clipped and, where signs are mixed, made even (floor).

    Mixed signs: even numbers in -256..254; of one sign: magnitudes 0..255 (lava.utils.weightutils, num_weight_bits 8).
    """
    weight = np.asarray(weight, np.int64)
    if weight.size and weight.min() < 0 < weight.max():
        weight = (np.clip(weight, -256, 255) >> 1) << 1
    else:
        weight = np.clip(weight, -255, 255)
    return weight


def powers(exponent: np.ndarray) -> tuple[float, ...]:
    """2^e of each word's exponent."""
    return tuple(2.0 ** int(e) for e in np.ravel(exponent))


def int32(xp: ModuleType, total: Array) -> Array:
    """``total`` as int32 holds it: beyond its ends it wraps."""
    return total if _inside(total) else total - 2 * ACCUMULATOR * xp.floor((total + ACCUMULATOR) * 2.0**-32)


def message(xp: ModuleType, total: Array) -> Array:
    """What a stock GradedVec sends of a sum: int32, and nothing for -2^31, whose magnitude int32 can't hold."""
    if _inside(total):
        return total
    sent = int32(xp, total)
    return sent * xp.astype(sent > -ACCUMULATOR, sent.dtype)


def _inside(total: Array) -> bool:
    """Whether all of a numpy array is so small that neither of the above changes it: two passes, not six."""
    return isinstance(total, np.ndarray) and total.min(initial=0) > -ACCUMULATOR and total.max(initial=0) < ACCUMULATOR


def shifted(xp: ModuleType, total: Array, power: float) -> Array:
    """A sum << e or >> -e, for power = 2^e, in int32."""
    return int32(xp, total * power) if power >= 1 else xp.floor(int32(xp, total) * power)


def toward_zero(xp: ModuleType, product: Array) -> Array:
    """sign(p) * (|p| >> 12): how stock LIF shifts what has decayed."""
    return xp.sign(product) * xp.floor(xp.abs(product) * 2.0**-12)


def outside(values: np.ndarray, limit: float) -> np.ndarray:
    """How many of (B, ...) lie at ``limit`` or beyond, or aren't numbers: (B,) int64."""
    beyond: np.ndarray = np.count_nonzero(~(np.abs(values) < limit).reshape(values.shape[0], -1), axis=1)
    return beyond


@dataclasses.dataclass(eq=False)
class FixedOperation(Operation):
    """An operation on integers: float64 alone carries them, and every value of it can be out of range."""

    dtypes: ClassVar[tuple[str, ...]] = ("float64",)

    def exceeded(self, state: State, x: np.ndarray) -> np.ndarray:
        """How many values of one step, (B,) int64, leave their width, given the state before it and what enters."""
        raise NotImplementedError

    def _check_words(self, name: str, weight: np.ndarray, exponent: np.ndarray, mixed: bool = False) -> None:
        """Words are along the first axis, each one that a stock process holds as it is. ``mixed``: even ones."""
        if exponent.shape != weight.shape[:1] or weight.dtype.kind != "i" or exponent.dtype.kind != "i":
            raise BadInput(self.kind, f"{name} {weight.shape} needs integers, and an exponent for each of its words")
        if not len(weight) or np.abs(exponent.astype(int)).max() > EXPONENT:
            raise BadInput(self.kind, f"{name} needs a word, and exponents from -{EXPONENT} to {EXPONENT}")
        for word in weight:
            same = not (word % 2).any() and np.abs(word).max(initial=0) <= 254 if mixed else True
            if not same or not np.array_equal(held(word), word):
                raise BadInput(self.kind, f"{name} holds weights that 8 bits don't (mixed signs: even, -256..254)")
