"""A snnTorch network, trained for some seconds on real digits, as a NIR file that runs without torch.

    python examples/from_snntorch.py [digits.nir]

A digit is 8 steps of 8 pixels, one row after another. Needs snntorch, scikit-learn and onnxruntime.
"""

from __future__ import annotations

import sys

import numpy as np
import snntorch as snn
import torch
from sklearn.datasets import load_digits
from torch import nn

from convert import from_torch
from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from simulators import backends

HIDDEN = 64


def surrogate(shifted: torch.Tensor) -> torch.Tensor:
    """snnTorch's own, in the dtype of the membrane: it gives float32, which no float64 layer would take."""
    return snn.surrogate.atan()(shifted).to(shifted.dtype)


def network() -> nn.Sequential:
    options = {"spike_grad": surrogate, "init_hidden": True}
    return nn.Sequential(
        *(nn.Linear(8, HIDDEN), nn.BatchNorm1d(HIDDEN), snn.Leaky(beta=0.9, learn_threshold=True, **options)),
        *(nn.Linear(HIDDEN, HIDDEN), snn.RLeaky(beta=0.8, linear_features=HIDDEN, **options), nn.Dropout(0.1)),
        *(nn.Linear(HIDDEN, 10), snn.Leaky(beta=0.9, **options)),
    )


def spikes(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """What the last layer fires on x (B, T, 8), stepped by snnTorch itself from rest: (B, T, 10)."""
    for layer in net:
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    return torch.stack([net(x[:, t]) for t in range(x.shape[1])], dim=1)


def train(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor, epochs: int = 10) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(spikes(net, x[batch]).sum(dim=1), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def main(path: str = "digits.nir") -> None:
    torch.manual_seed(0)
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    x, y = torch.tensor(digits.images / 16, dtype=torch.float32)[order], torch.tensor(digits.target)[order]
    net = network()
    train(net, x[:1200], y[:1200])
    net.eval()

    program = from_torch(net, example=x[:4, 0])
    write(program, path)
    program = read(path)
    print(f"{path}: {len(program.layers)} layers, {len(program.spiking)} of them spiking")

    held_out = x[1200:]
    for dtype in ("float64", "float32"):
        net, held_out = net.to(getattr(torch, dtype)), held_out.to(getattr(torch, dtype))
        with torch.no_grad():
            expected = spikes(net, held_out).numpy()
        right = np.mean(expected.sum(axis=1).argmax(axis=1) == y[1200:].numpy())
        print(f"snnTorch, {dtype}: {expected.sum():.0f} output spikes, {right:.1%} of {len(held_out)} digits right")
        for name in ("numpy", "onnxruntime"):
            found = backends.load(name).run(program, held_out.numpy(), dtype, "cpu", lambda _: None)
            print(f"    {name}: {np.count_nonzero(found.output != expected)} of {expected.size} outputs differ")


if __name__ == "__main__":
    main(*sys.argv[1:])
