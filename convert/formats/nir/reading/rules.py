"""How a graph of standard NIR nodes is to be run: NIR gives differential equations and leaves the rest open."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.neurons import Comparison

Reset = Literal["hard", "soft"]
METHODS = ("euler", "exponential", "impulse")
IMPORTER = "as-importer:"


class Unstated(float):
    """A number that nobody stated: a file that states one is followed."""


DEFAULT_DT = Unstated(1e-4)


@dataclasses.dataclass(frozen=True)
class Rules:
    """One reading of NIR's equations.

    dt: seconds of one step; where it isn't given, what the file's metadata say, or 1e-4.
    integrate: "euler": forward Euler; "exponential": exact between steps, the input held over each; "impulse": exact
    decay between steps, and each input acts at once, as an impulse of area dt; "as-importer:NAME": what that importer
    makes of the file's parameters (it brings its own dt, comparison and reset).
    compare: "gt" as NIR says (fires above the threshold), or "ge".
    reset: "hard" (to v_reset) or "soft" (by subtraction). None takes what the file says and refuses one that says
    nothing: files of older nir hold no v_reset and mean subtraction, yet newer readers take them as hard.
    """

    dt: float = DEFAULT_DT
    integrate: str = "euler"
    compare: Comparison = "gt"
    reset: Reset | None = None

    def __post_init__(self) -> None:
        if not 0 < self.dt < float("inf"):
            raise BadInput("--dt", f"{self.dt} is not a positive number of seconds")
        if self.integrate not in METHODS and not self.integrate.startswith(IMPORTER):
            raise BadInput("--integrate", f"{self.integrate!r} is not {', '.join(METHODS)} or {IMPORTER}NAME")
        if self.compare not in ("ge", "gt"):
            raise BadInput("--compare", f"{self.compare!r} is not ge or gt")
        if self.reset not in (None, "hard", "soft"):
            raise BadInput("--reset", f"{self.reset!r} is not hard or soft")


@dataclasses.dataclass(frozen=True)
class Leak:
    """v[t] = decay*v[t-1] + gain*I[t] + bias, float64 arrays of one shape."""

    decay: np.ndarray
    gain: np.ndarray
    bias: np.ndarray


def leak(tau: np.ndarray, r: np.ndarray, v_leak: np.ndarray, method: str, dt: float) -> Leak:
    """One step of tau*dv/dt = (v_leak - v) + r*I by ``method``; tau and dt in the same unit."""
    tau, r, v_leak = (np.asarray(value, np.float64) for value in (tau, r, v_leak))
    rate = dt / tau
    if method == "euler":
        return Leak(1 - rate, r * rate, v_leak * rate)
    fallen = -np.expm1(-rate)
    return Leak(np.exp(-rate), r * (fallen if method == "exponential" else rate), v_leak * fallen)


def synapse(tau_syn: np.ndarray, tau_mem: np.ndarray, r: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact solution of a membrane behind a leaking current, input held: factors of i[t] and i[t-1] in v[t].

    With a = exp(-dt/tau), K = tau_syn/(tau_syn - tau_mem) * (a_syn - a_mem) and i running from i[t-1] to i[t]:
    v[t] = a_mem*v[t-1] + r*(1 - a_mem - K)/(1 - a_syn)*(i[t] - a_syn*i[t-1]) + r*K*i[t-1]
    """
    tau_syn, tau_mem, r = (np.asarray(value, np.float64) for value in (tau_syn, tau_mem, r))
    fallen_syn, fallen_mem = -np.expm1(-dt / tau_syn), -np.expm1(-dt / tau_mem)
    apart = tau_syn != tau_mem
    safe = np.where(apart, tau_syn - tau_mem, 1.0)
    carried = np.where(apart, tau_syn / safe * (fallen_mem - fallen_syn), dt / tau_mem * (1 - fallen_mem))
    now = r * (fallen_mem - carried) / fallen_syn
    return now, r * carried - (1 - fallen_syn) * now
