"""The neurons: the one place where each equation stands (docs/api.md shows them)."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar, Literal

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, SpikingOperation, State

Comparison = Literal["ge", "gt"]


def _check_choice(kind: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInput(kind, f"{name} is {value!r}, not one of {', '.join(choices)}")


@dataclasses.dataclass(eq=False)
class LIF(SpikingOperation):
    """Leaky integrate-and-fire neuron with hard or soft reset; with decay 1 it is integrate-and-fire.

    The hard one is SpikingSSM's (Shen et al. 2024, arXiv:2408.14909).

    u'[t] = decay*u[t-1] + gain*I[t] + bias;  s = (u' >= threshold)
    hard:  u = u' where s = 0, v_reset where s = 1
    soft:  u = u' - threshold*s

    Arrays: one value per neuron, float64, of the input's shape. ``gain`` and ``bias`` are None where they are 1 and 0.
    ``comparison`` "gt" fires only above the threshold (for graphs of others).
    """

    kind: ClassVar[str] = "lif"
    counts_values: ClassVar[bool] = False
    decay: np.ndarray
    threshold: np.ndarray
    v_reset: np.ndarray | None = None
    gain: np.ndarray | None = None
    bias: np.ndarray | None = None
    reset_kind: Literal["hard", "soft"] = "hard"
    comparison: Comparison = "ge"

    def __post_init__(self) -> None:
        _check_choice(self.kind, "reset_kind", self.reset_kind, ("hard", "soft"))
        _check_choice(self.kind, "comparison", self.comparison, ("ge", "gt"))

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        current = x if self.gain is None else self.gain * x
        potential = self.decay * state["u"] + current
        return potential if self.bias is None else potential + self.bias

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - self.threshold

    def fire(self, state: State, potential: Array) -> Array:
        return potential >= self.threshold if self.comparison == "ge" else potential > self.threshold

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        if self.reset_kind == "soft":
            return {"u": potential - self.threshold * spikes}
        kept = potential * (1 - spikes)
        return {"u": kept if self.v_reset is None else kept + self.v_reset * spikes}

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        return {"state_macs": self.decay.size, "state_updates": self.decay.size}


@dataclasses.dataclass(eq=False)
class RefractoryLIF(SpikingOperation):
    """Refractory LIF neuron, our reading of SPikE-SSM (its full text was not at hand).

    R[t] = decay_r*R[t-1] + s[t-1];  u'[t] = decay*u[t-1] + I[t] - inhibition*R[t];  s = (u' >= threshold)
    u = u' - threshold*s if ``soft``, else u'

    Arrays: one value per neuron, float64, of the input's shape. The state ``r`` holds R of the coming step.
    """

    kind: ClassVar[str] = "lif_refractory"
    counts_values: ClassVar[bool] = False
    decay: np.ndarray
    threshold: np.ndarray
    decay_r: np.ndarray
    inhibition: np.ndarray
    soft: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.inhibition, np.ndarray) and (self.inhibition < 0).any():
            raise BadInput(self.kind, "inhibition (Uth) is negative; a refractory neuron needs Uth >= 0")

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape, "r": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return self.decay * state["u"] + x - self.inhibition * state["r"]

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - self.threshold

    def fire(self, state: State, potential: Array) -> Array:
        return potential >= self.threshold

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        u = potential - self.threshold * spikes if self.soft else potential
        return {"u": u, "r": self.decay_r * state["r"] + spikes}

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # decay*u + I, inhibition*R, decay_r*R + s
        return {"state_macs": 3 * self.decay.size, "state_updates": 2 * self.decay.size}


@dataclasses.dataclass(eq=False)
class LeakyIntegrator(Operation):
    """u[t] = decay*u[t-1] + gain*I[t] + bias, read out as it is: NIR's LI, and with decay 1 its I (mean-pool readout).

    Arrays: one value per neuron, float64, of the input's shape. ``gain`` and ``bias`` are None where they are 1 and 0.
    """

    kind: ClassVar[str] = "li"
    counts_values: ClassVar[bool] = False
    decay: np.ndarray
    gain: np.ndarray | None = None
    bias: np.ndarray | None = None

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        u = self.decay * state["u"] + (x if self.gain is None else self.gain * x)
        if self.bias is not None:
            u = u + self.bias
        return {"u": u}, u

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        return {"state_macs": self.decay.size, "state_updates": self.decay.size}
