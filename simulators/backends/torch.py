"""The torch backend: the same steps on torch tensors, on the CPU or on a CUDA device."""

from __future__ import annotations

import array_api_compat.torch as xp
import numpy as np
import torch

from simulators.backends import Dtype, Progress, Recording
from spikestrip import execution
from spikestrip.errors import BadInput
from spikestrip.program import Layer, Program


class TorchBackend:
    name = "torch"
    devices = ("cpu", "cuda")

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        return None

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BadInput("--device cuda", "this machine has no CUDA device that torch can use")
        kind = getattr(torch, dtype)

        def convert(array: np.ndarray) -> torch.Tensor:
            owned = array if array.flags.writeable else array.copy()  # torch warns of what it must not write to
            return torch.as_tensor(owned).to(device=device, dtype=kind)

        with torch.inference_mode():
            output, spikes, numbers = execution.run(
                program, x, xp, convert, lambda tensor: tensor.cpu().numpy(), progress
            )
        return Recording(output, spikes, numbers=numbers)
