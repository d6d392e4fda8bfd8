"""The adaptive LIF: its threshold rises with every spike of its own, and comes down again."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, SpikingOperation, State


@dataclasses.dataclass(eq=False)
class AdaptiveLIF(SpikingOperation):
    """Leaky integrate-and-fire neuron with an adaptive threshold (LSNN; Bellec et al., NeurIPS 2018, eq. 1 to 3).

    u'[t] = decay*u[t-1] + I[t];  theta[t] = threshold + beta*a[t];  s = (u' >= theta[t])
    u = u' - theta[t]*s;  a[t+1] = decay_a*a[t] + s[t]

    The reset subtracts the threshold at which the neuron fired. ``decay_a`` has no factor 1 - decay_a before the spike:
    it is in ``beta``. Arrays: one value per neuron, float64, of the input's shape; beta >= 0. The state ``a`` holds a
    of the coming step.
    """

    kind: ClassVar[str] = "lif_adaptive"
    counts_values: ClassVar[bool] = False
    decay: np.ndarray
    threshold: np.ndarray
    decay_a: np.ndarray
    beta: np.ndarray

    def __post_init__(self) -> None:
        if isinstance(self.beta, np.ndarray) and (self.beta < 0).any():
            raise BadInput(self.kind, "beta is negative: a spike would lower the threshold")

    def output_shape(self, shape: Shape) -> Shape:
        for array in self.arrays().values():
            self._fit(shape, array.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"u": shape, "a": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        return self.decay * state["u"] + x

    def adapted(self, state: State) -> Array:
        """theta[t]."""
        return self.threshold + self.beta * state["a"]

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential - self.adapted(state)

    def fire(self, state: State, potential: Array) -> Array:
        return potential >= self.adapted(state)

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        return {"u": potential - self.adapted(state) * spikes, "a": self.decay_a * state["a"] + spikes}

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # decay*u + I, beta*a, decay_a*a + s
        return {"state_macs": 3 * self.decay.size, "state_updates": 2 * self.decay.size}
