"""sinabs' neurons (3.1.3, read from its code) as layers of a program; sinabs itself is not imported.

    v = alpha*v + (1 - alpha if norm_input else 1)*i;   i = x, or with tau_syn  i = alpha_syn*(i + x)
    SingleSpike  s = (v >= threshold);   MultiSpike  s = trunc(v/threshold) where v > 0
    MembraneSubtract  v - threshold*s;   MembraneReset  v*(s == 0);   then v >= min_v_mem

alpha is what the module computes, in its own dtype: exp(-1/tau) of float32 for most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from convert.modules.arrays import array, fitted
from convert.modules.program_builder import ProgramBuilder
from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    UNBOUNDED,
    LeakyIntegrator,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    Shape,
    SumPool2d,
)

NEURONS = ("IAF", "IAFSqueeze", "LIF", "LIFSqueeze", "ExpLeak", "ExpLeakSqueeze")


def is_neuron(module: nn.Module) -> bool:
    """True for an instance of one of NEURONS, of no subclass."""
    return type(module).__module__.startswith("sinabs.") and type(module).__name__ in NEURONS


def is_sum_pool(module: nn.Module) -> bool:
    return type(module).__module__.startswith("sinabs.") and type(module).__name__ == "SumPool2d"


def is_squeezed(module: nn.Module) -> bool:
    """True where it takes (B*T, *shape) instead of (B, T, *shape)."""
    return type(module).__name__.endswith("Squeeze")


def alphas(module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The decays of the membrane and of the synapse (None without one), as the module computes them."""
    with torch.no_grad():
        return module.alpha_mem_calculated, None if "i_syn" not in module._buffers else module.alpha_syn_calculated


def sum_pool(path: str, module: Any) -> SumPool2d:
    """LPPool2d of norm 1: the sum of a window, if nothing in it is negative; spikes aren't."""
    if module.ceil_mode:
        raise Refused(path, "has ceil_mode; only whole windows are known")
    size, stride = (_pair(value) for value in (module.kernel_size, module.stride or module.kernel_size))
    return SumPool2d(*size, *stride)


def add_neuron(builder: ProgramBuilder, path: str, module: Any, entering: str) -> str:
    """Append the layers of the neuron at ``path``; returns its output. Raises Refused(path, reason)."""
    shape = builder.shapes[entering]
    membrane, synapse = alphas(module)
    decay = fitted(path, "alpha_mem", membrane, shape)
    if synapse is not None:
        alpha = fitted(path, "alpha_syn", synapse, shape)
        entering = builder.add(f"{path}_syn", LeakyIntegrator(alpha, gain=alpha), entering)
    gain = 1 - decay if module.norm_input else None
    return builder.add(path, _neuron(path, module, decay, gain, shape), entering)


def _neuron(path: str, module: Any, decay: np.ndarray, gain: np.ndarray | None, shape: Shape) -> Operation:
    firing = None if module.spike_fn is None else module.spike_fn.__name__
    floor = module.min_v_mem
    if firing is None:
        if floor is not None:
            raise Refused(path, "is an integrator with min_v_mem, which no operation says")
        return LeakyIntegrator(decay, gain=gain)
    threshold = fitted(path, "spike_threshold", module.spike_threshold, shape)
    reset = _reset(path, module, threshold, shape)
    if firing == "SingleSpike":
        if floor is not None:
            raise Refused(
                path, "has SingleSpike and min_v_mem, which no operation says; min_v_mem=None can be converted"
            )
        return LIF(decay, threshold, gain=gain, reset_kind=reset)
    if firing != "MultiSpike":
        raise Refused(path, f"has spike_fn {firing}; SingleSpike and MultiSpike are known")
    if reset != "soft":
        raise Refused(
            path,
            "sends several spikes in a step (MultiSpike) and resets to 0, which no operation says; "
            "MembraneSubtract can be converted, and so can spike_fn=SingleSpike",
        )
    lowest = np.full(shape, UNBOUNDED) if floor is None else fitted(path, "min_v_mem", floor, shape)
    if gain is None and (decay == 1).all():
        return MultiSpikeIF(threshold, lowest)
    return MultiSpikeLIF(threshold, lowest, decay, gain)


def _reset(path: str, module: Any, threshold: np.ndarray, shape: Shape) -> Any:
    """ "hard" or "soft". sinabs' reset functions are dataclasses whose fields decide."""
    kind, held = type(module.reset_fn).__name__, module.reset_fn
    if kind == "MembraneReset":
        if np.any(array(path, "reset_value", torch.as_tensor(held.reset_value))):
            raise Refused(path, "has MembraneReset to another value than 0, which sinabs adds to silent neurons too")
        return "hard"
    if kind == "MembraneSubtract":
        value = held.subtract_value
        if value is not None and (fitted(path, "subtract_value", torch.as_tensor(value), shape) != threshold).any():
            raise Refused(path, "subtracts another value than its threshold, which no operation says")
        return "soft"
    raise Refused(path, f"has reset_fn {kind}; MembraneReset and MembraneSubtract are known")


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
