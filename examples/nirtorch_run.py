"""Run a canonical Spikestrip file with nirtorch alone: no line of Spikestrip takes part.

    python examples/nirtorch_run.py model.nir x.npy y.npy        x: (B, T, C); y: (B, T, outputs)

nirtorch (2.6 or newer) executes the standard nodes, given a map that says what each of them is. This map is NIR's own
equations by forward Euler with dt = 1, in float64. Layers that NIR can't say have bodies of NaN, so y is NaN then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import nir
import nirtorch
import numpy as np
import torch

Stepped = tuple[torch.Tensor, torch.Tensor]


class Integrator(torch.nn.Module):
    """I, IF (no tau): v = v + r*I; LI, LIF: v = v + (v_leak - v + r*I)/tau; with a threshold, fires above."""

    def __init__(self, node: nir.I | nir.LI | nir.IF | nir.LIF) -> None:
        super().__init__()
        for name in ("r", "tau", "v_leak", "v_threshold", "v_reset"):
            value = getattr(node, name, None)
            self.register_buffer(name, None if value is None else torch.as_tensor(value, dtype=torch.float64))

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> Stepped:
        v = torch.zeros_like(self.r) if state is None else state
        v = v + self.r * x if self.tau is None else v + (self.v_leak - v + self.r * x) / self.tau
        if self.v_threshold is None:
            return v, v
        spikes = (v > self.v_threshold).to(v.dtype)
        return spikes, torch.where(spikes > 0, self.v_reset, v)


class Stateless(torch.nn.Module):
    """A node that is a function of its input."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def affine(node: nir.Affine | nir.Linear) -> Stateless:
    weight = torch.as_tensor(node.weight, dtype=torch.float64)
    bias = torch.as_tensor(getattr(node, "bias", 0.0), dtype=torch.float64)
    return Stateless(lambda x: (weight @ x[..., None])[..., 0] + bias)


def conv1d(node: nir.Conv1d) -> Stateless:
    """Our bodies use it as a matrix over rows: kernel 1."""
    weight, bias = (torch.as_tensor(value, dtype=torch.float64) for value in (node.weight[:, :, 0], node.bias))
    return Stateless(lambda x: weight @ x + bias[:, None])


def scale(node: nir.Scale) -> Stateless:
    factor = torch.as_tensor(node.scale, dtype=torch.float64)
    return Stateless(lambda x: factor * x)


def threshold(node: nir.Threshold) -> Stateless:
    limit = torch.as_tensor(node.threshold, dtype=torch.float64)
    return Stateless(lambda x: (x > limit).to(x.dtype))


NODE_MAP = {
    **dict.fromkeys((nir.I, nir.LI, nir.IF, nir.LIF), Integrator),
    **dict.fromkeys((nir.Affine, nir.Linear), affine),
    nir.Conv1d: conv1d,
    nir.Scale: scale,
    nir.Threshold: threshold,
}


def run(path: str, x: np.ndarray) -> np.ndarray:
    """The output of every step, (B, T, outputs), for x (B, T, C)."""
    net = nirtorch.nir_to_torch(nir.read(path), NODE_MAP, dtype=torch.float64)
    steps = torch.as_tensor(x, dtype=torch.float64)[:, :, None]  # streams are rows: (B, 1, C)
    state, out = None, []
    with torch.inference_mode():
        for t in range(steps.shape[1]):
            y, state = net(steps[:, t], state)
            out.append(y[:, 0].numpy())
    return np.stack(out, axis=1)


if __name__ == "__main__":
    model, source, target = sys.argv[1:]
    np.save(target, run(model, np.load(source)))
