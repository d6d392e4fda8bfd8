"""Surrogate gradients of the spike, by name.

Each is a function of the normalised distance d = (u' - vth)/vth, dimensionless, and peaks at 1 for d = 0. Arithmetic
alone (no ``max``, ``where`` or ``exp``): the same lines are evaluated by torch on tensors and compiled by numba
for the scan kernel, so that both round alike, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PI = 3.141592653589793
TWELFTH, THIRTIETH, FIFTY_SIXTH = 1.0 / 12.0, 1.0 / 30.0, 1.0 / 56.0


def triangle(d: Any) -> Any:
    """max(0, 1 - |d|): the piecewise quadratic surrogate of the SpikingSSM papers."""
    y = 1.0 - abs(d)
    return 0.5 * (y + abs(y))  # max(0, y), exactly


def rectangle(d: Any) -> Any:
    """1 where |d| < 1/2, else 0."""
    return 1.0 * (abs(d) < 0.5)


def fast_sigmoid(d: Any) -> Any:
    """1/(1 + |d|)**2 (SuperSpike)."""
    y = 1.0 + abs(d)
    return 1.0 / (y * y)


def atan(d: Any) -> Any:
    """1/(1 + (pi*d)**2): derivative, scaled to 1 at d = 0, of atan(pi*d)."""
    y = PI * d
    return 1.0 / (1.0 + y * y)


def sigmoid(d: Any) -> Any:
    """Derivative of the logistic function of 4*d: 2/(1 + cosh(4d)).

    c = cosh(4d) - 1 comes from its series at 4d/32 and five doublings c(2a) = 2*c(a)*(c(a) + 2), which lose nothing
    to cancellation.
    """
    a = 0.125 * d
    q = a * a
    c = 0.5 * q * (1.0 + q * TWELFTH * (1.0 + q * THIRTIETH * (1.0 + q * FIFTY_SIXTH)))
    c = 2.0 * c * (c + 2.0)
    c = 2.0 * c * (c + 2.0)
    c = 2.0 * c * (c + 2.0)
    c = 2.0 * c * (c + 2.0)
    c = 2.0 * c * (c + 2.0)
    return 2.0 / (2.0 + c)


SURROGATES: dict[str, Callable[[Any], Any]] = {
    "triangle": triangle,
    "rectangle": rectangle,
    "fast_sigmoid": fast_sigmoid,
    "sigmoid": sigmoid,
    "atan": atan,
}
