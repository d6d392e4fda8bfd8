"""Every way to compute the same neuron, by name."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.neurons.neuron import Neuron

# Each module has run(x, neuron, **options) -> spikes. Imported when first used: numba and SDN weights load slowly.
METHODS = {
    "bptt": "train.neurons.bptt",  # step by step: the truth
    "scan": "train.neurons.scan",  # exact: fused kernel, on the CPU in numba, on CUDA in Triton
    "fused": "train.neurons.scan",  # the same; in a network on the CPU in one kernel with its S4D (train.fused)
    "block": "train.neurons.speculation",  # exact: block speculation, any device
    "sdn": "train.neurons.sdn",  # surrogate dynamic network: not exact
    "pmbc": "train.neurons.pmbc",  # parallel max-min boundary compression: exact, soft and refractory
}


def spikes(x: Tensor, neuron: Neuron, method: str, **options: Any) -> Tensor:
    """Spikes (B, H, L), 0 or 1 in the dtype of x, of ``neuron`` for the input current x (B, H, L).

    ``method`` is a name in METHODS; ``options`` are those of that method's ``run``. Raises BadInput for an unknown
    method, an input that isn't finite, or a neuron that the method doesn't compute.
    """
    if method not in METHODS:
        raise BadInput("method", f"unknown {method!r}, expected one of {', '.join(METHODS)}")
    return import_module(METHODS[method]).run(x, neuron, **options)


def default_method(device: torch.device | str) -> str:
    """The fastest exact method on ``device``, for few rows and for many."""
    kind = torch.device(device).type
    return "scan" if kind == "cpu" or (kind == "cuda" and find_spec("triton") is not None) else "block"
