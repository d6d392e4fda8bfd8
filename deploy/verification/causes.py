"""The causes of a differing spike."""

from __future__ import annotations

# In order of gravity: where both sides are wrong about a spike, the graver cause names it.
CAUSES = (
    "carried",  # right on both sides, given what each received and fired before
    "tie",
    "rounding",
    "surrogate",
    "undecided",
    "quantisation",
    "saturation",
    "delay",
    "samples",
    "comparison",
    "reset",
    "bias",
    "wiring",
    "input",
    "state",
    "parameter",
    "systematic",
    "undeclared",
    "unexplained",
)
EXPECTED = CAUSES[: CAUSES.index("delay")]
FAULTS = CAUSES[CAUSES.index("delay") :]
CODE = {name: code for code, name in enumerate(CAUSES)}
