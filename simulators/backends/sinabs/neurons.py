"""Neurons of a program as sinabs' own layers.

What sinabs 3.1 really computes, with norm_input=False, SingleSpike and alpha set to the decay itself:

    v = alpha*v + I;  s = (v - threshold >= 0)
    v = v*(s == 0) + 0  (MembraneReset)   or   v = v - s*threshold  (MembraneSubtract)

Each product and sum is rounded by itself, and v - threshold is negative exactly when v < threshold, so this is the
LIF of ours (docs/api.md) bit for bit, in float32 and in float64. ``gain`` multiplies the current before it enters.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sinabs.layers as sl  # never sinabs.backend: it imports samna, whose import installs software
import torch
from sinabs.activation import MembraneReset, MembraneSubtract, MultiSpike, SingleSpike

from spikestrip.operations import UNBOUNDED, FixedIF, MultiSpikeLIF
from spikestrip.operations.fixed import HIGHEST, LOWEST


def lif(neuron: Any) -> sl.LIF:
    threshold = neuron.threshold
    if neuron.comparison == "gt":  # above the threshold is at or above the next number
        threshold = torch.nextafter(threshold, torch.full_like(threshold, torch.inf))
    soft = neuron.reset_kind == "soft"
    firing = {
        "spike_threshold": threshold,
        "spike_fn": SingleSpike,
        "reset_fn": MembraneSubtract(neuron.threshold) if soft else MembraneReset(),
    }
    if bool((neuron.decay == 1).all()):
        return sl.IAF(**firing)
    return _leaking(neuron, firing)


def leaky_integrator(neuron: Any) -> sl.ExpLeak:
    layer = sl.ExpLeak(tau_mem=1.0, train_alphas=True, norm_input=False)
    layer.alpha_mem.data = neuron.decay
    return layer


def several(neuron: Any) -> sl.LIF | sl.IAF:
    """It rounds at its floor, if it has one: relu(v - floor) + floor."""
    firing = {
        "spike_threshold": neuron.threshold,
        "spike_fn": MultiSpike,
        "reset_fn": MembraneSubtract(),
        "min_v_mem": None if bool((neuron.floor <= UNBOUNDED).all()) else neuron.floor,
    }
    return _leaking(neuron, firing) if isinstance(neuron, MultiSpikeLIF) else sl.IAF(**firing)


def _leaking(neuron: Any, firing: dict[str, Any]) -> sl.LIF:
    layer = sl.LIF(tau_mem=1.0, train_alphas=True, norm_input=False, **firing)
    layer.alpha_mem.data = neuron.decay
    return layer


def whole(neuron: FixedIF) -> sl.IAF:
    """Integers of 16 bits: the floor is the layer's own, the ceiling a reset function's."""
    return sl.IAF(
        spike_threshold=torch.tensor(float(neuron.threshold), dtype=torch.float64),
        spike_fn=SingleSpike,
        reset_fn=_Saturating(neuron.soft),
        min_v_mem=torch.tensor(float(LOWEST), dtype=torch.float64),
    )


@dataclasses.dataclass
class _Saturating:
    """sinabs resets the sum as it came; a membrane of 16 bits holds no more than its largest number."""

    soft: bool

    def __call__(self, spikes: Any, state: dict[str, Any], threshold: Any) -> dict[str, Any]:
        reset = MembraneSubtract() if self.soft else MembraneReset()
        return dict(reset(spikes, {**state, "v_mem": state["v_mem"].clamp(max=HIGHEST)}, threshold))
