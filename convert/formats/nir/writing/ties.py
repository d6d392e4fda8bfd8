"""NIR's LIF and exact ties: in which unit it holds the potential, and for which decays no tie is lost.

``v[t] = v[t-1] + ((v_leak - v[t-1]) + r*I[t])/tau`` with tau = 1/(1 - decay) and r = gain*tau would round r*I: 4/3 is
no binary number. Held as v = unit*u, unit the significand of 1 - decay, r is gain times a power of two, and only the
division by tau is left to round.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from spikestrip.operations import LIF, Operation


def rescaled(decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(unit, factor): v = unit*u, 1 <= unit < 2, and factor = unit/(1 - decay), a power of two with its sign."""
    significand, exponent = np.frexp(1 - decay)
    return 2 * abs(significand), np.ldexp(np.sign(significand), 1 - exponent)


def keeps_ties(operation: Operation) -> bool:
    """True where the standard nodes compute what the program does wherever the program's sums are exact.

    All do but NIR's LIF. It needs a threshold and a reset value that are exact in its unit, and tau within 2^-54 of
    1/(1 - decay): then x/tau is (1 - decay)*x, correctly rounded, whenever that is a float64.
    """
    if not isinstance(operation, LIF) or operation.reset_kind == "soft" or (operation.decay == 1).all():
        return True
    unit, _ = rescaled(operation.decay)
    products = [operation.threshold] + ([] if operation.v_reset is None else [operation.v_reset])
    return all(map(_divides, np.unique(operation.decay).tolist())) and all(
        Fraction(u) * Fraction(x) == Fraction(u * x)
        for array in products
        for u, x in zip(unit.ravel().tolist(), array.ravel().tolist(), strict=True)
    )


def _divides(decay: float) -> bool:
    leak = 1 - Fraction(decay)
    return Fraction(1 - decay) == leak and abs(Fraction(1 / (1 - decay)) * leak - 1) <= Fraction(1, 2**54)
