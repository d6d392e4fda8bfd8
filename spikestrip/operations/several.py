"""Sinabs' main neurons: they send several spikes in one step, and may have a floor under their potential."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Operation, Shape, State

UNBOUNDED = -float(np.finfo(np.float32).max)
"""A floor here or below is none (an IAF with ``min_v_mem=None``): float32, which such layers run in, ends here."""
MOST = 1 << 24
"""Spikes of one step: float32 holds every integer up to there."""


@dataclasses.dataclass(eq=False)
class MultiSpikeIF(Operation):
    """IAF with MultiSpike and MembraneSubtract of sinabs 3.1.3 (which rounds at its floor: relu(v - floor) + floor).

    u'[t] = u[t-1] + I[t];  y[t] = trunc(u'/threshold) where u' > 0, else 0 (at most 2^24)
    u = max(u' - threshold*y, floor)

    Its output is a number of spikes, a graded value: what it reaches counts as multiplications, and no layer that needs
    0 or 1 follows it. Its parts are apart as a SpikingOperation's are, for a verifier. Arrays: one value per neuron,
    float64, of the input's shape; threshold > 0, floor <= 0.
    """

    kind: ClassVar[str] = "if_several"
    counts_values: ClassVar[bool] = False
    threshold: np.ndarray
    floor: np.ndarray

    def __post_init__(self) -> None:
        if isinstance(self.threshold, np.ndarray) and not (self.threshold > 0).all():
            raise BadInput(self.kind, "a threshold is not above 0: it would send spikes without end")
        if isinstance(self.floor, np.ndarray) and (self.floor > 0).any():
            raise BadInput(self.kind, "a floor is above 0, where the potential starts")

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        """u', the membrane potential before any spike."""
        return state["u"] + x

    def numbers(self, xp: ModuleType, potential: Array) -> Array:
        """How many spikes u' sends, in its own dtype."""
        whole = xp.astype(xp.clip(potential / self.threshold, 0, MOST), xp.int64)
        # NaN and infinity must not pass for a number of spikes
        return xp.astype(whole, potential.dtype) + 0 * potential

    def excess(self, potential: Array, sent: Array) -> Array:
        """The signed distance of u' to the edge that decides against ``sent`` spikes: >= 0 where more are due.

        Below the edge threshold*sent fewer are; where neither holds, the distance to the nearer of the two edges.
        """
        lower, upper = potential - self.threshold * sent, potential - self.threshold * (sent + 1)
        fewer = (sent > 0) & ((lower < 0) | (lower < -upper))
        return lower * fewer + upper * ~fewer

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        """The state after ``spikes`` (how many) have been sent, not below the floor."""
        left = potential - self.threshold * spikes
        below = xp.astype(left < self.floor, potential.dtype)
        return {"u": left * (1 - below) + self.floor * below}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        potential = self.integrate(xp, state, x)
        spikes = self.numbers(xp, potential)
        return self.reset(xp, state, potential, spikes), spikes

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # threshold*y; the division is a comparison ladder on a chip
        return {"state_macs": self.threshold.size, "state_updates": self.threshold.size}


@dataclasses.dataclass(eq=False)
class MultiSpikeLIF(MultiSpikeIF):
    """LIF with MultiSpike and MembraneSubtract of sinabs 3.1.3, which is what its importer makes of a NIR LIF.

    u'[t] = decay*u[t-1] + gain*I[t];  y and u as of MultiSpikeIF

    Arrays as there; ``gain`` is None where it is 1 (sinabs' norm_input: 1 - decay).
    """

    kind: ClassVar[str] = "lif_several"
    decay: np.ndarray
    gain: np.ndarray | None = None

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return self.decay * state["u"] + (x if self.gain is None else self.gain * x)
