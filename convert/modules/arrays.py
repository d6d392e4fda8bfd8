"""A module's tensors in numpy, without a rounding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spikestrip.errors import Refused
from spikestrip.operations import Shape


def array(path: str, name: str, tensor: Tensor) -> np.ndarray:
    """A copy of ``tensor``: float64 stays, narrower floats become float32, integers float64.

    Raises Refused(path, ...) for what is complex or not finite.
    """
    if tensor.is_complex():
        raise Refused(path, f"{name} is complex, and here a real one is needed")
    narrow = tensor.is_floating_point() and tensor.element_size() < 8
    found: np.ndarray = tensor.detach().cpu().to(torch.float32 if narrow else torch.float64).numpy().copy()
    if not np.isfinite(found).all():
        raise Refused(path, f"{name} holds NaN or infinity")
    return found


def fitted(path: str, name: str, tensor: Tensor, shape: Shape) -> np.ndarray:
    """One float64 value for each neuron, as torch broadcasts ``tensor`` over a batch of steps of ``shape``."""
    values = array(path, name, tensor).astype(np.float64)
    if values.ndim == len(shape) + 1 and len(values) == 1:
        values = values[0]  # an axis of its own for the batch
    try:
        return np.broadcast_to(values, shape).copy()
    except ValueError as error:
        raise Refused(path, f"{name} of shape {tuple(tensor.shape)} does not fit neurons of shape {shape}") from error
