"""How good a surrogate dynamic network is: its spikes against the iterative neuron's, on many kinds of input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from array_api_compat import torch as xp
from torch import Tensor

from spikestrip.errors import BadInput
from spikestrip.operations.neurons import LIF
from train.neurons.sdn_network import Folded

LENGTH = 1024
MOMENTS = ("mean", "std", "correlation")


def moments(z: Tensor) -> Tensor:
    """MOMENTS of each row of z (N, L) -> (N, 3); the correlation is that of neighbouring steps."""
    mean = z.mean(-1, keepdim=True)
    centred = z - mean
    variance = centred.square().mean(-1)
    correlation = (centred[:, 1:] * centred[:, :-1]).sum(-1) / (z.shape[1] * variance)
    return torch.stack([mean[:, 0], variance.sqrt(), torch.where(variance < 1e-10, 0, correlation)], -1)


@torch.no_grad()
def simulate(tau: float, reset: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The iterative neuron at threshold 1 on x (N, L): (tau*u[t-1], spikes), both (N, L)."""
    if reset not in ("hard", "soft"):
        raise BadInput("--reset", f"{reset!r} is neither hard nor soft")
    neuron = LIF(np.asarray(tau), np.asarray(1.0), reset_kind=reset)  # type: ignore[arg-type]
    neuron = neuron.bind(lambda value: torch.as_tensor(value, dtype=x.dtype))
    state: dict[str, Any] = {"u": x.new_zeros(len(x))}
    silence = x.new_zeros(len(x))
    leaked, spikes = torch.empty_like(x.T), torch.empty_like(x.T)
    for t, x_t in enumerate(x.T.contiguous()):
        leaked[t] = neuron.integrate(xp, state, silence)
        state, spikes[t] = neuron.step(xp, state, x_t)
    return leaked.T.contiguous(), spikes.T.contiguous()


def inputs(rows: int) -> dict[str, Tensor]:
    """The kinds of input, at threshold 1, that a surrogate is graded on, each (rows, 1024); not those trained on."""
    generator = torch.Generator().manual_seed(1 << 40)

    def normal(mean: float, std: float, correlation: float = 0.0) -> Tensor:
        noise = torch.randn(LENGTH, rows, generator=generator)
        for t in range(1, LENGTH if correlation else 0):  # AR(1), stationary
            noise[t] = correlation * noise[t - 1] + math.sqrt(1 - correlation**2) * noise[t]
        return mean + std * noise.T.contiguous()

    kinds = {"N(0,1)": normal(0, 1)}
    for std in (0.3, 3, 5, 10):
        kinds[f"N(0,{std:g})"] = normal(0, std)
    for mean, std in ((-1, 1), (0.5, 0.3), (0.5, 1), (0.9, 0.1), (0.9, 0.3), (1.2, 0.3), (1, 1), (2, 1)):
        kinds[f"N({mean:g},{std:g})"] = normal(mean, std)
    for mean, std in ((0, 0.5), (0, 1), (0, 3), (0.5, 0.3), (0.9, 0.3)):
        kinds[f"AR(1) .95 N({mean:g},{std:g})"] = normal(mean, std, 0.95)
    kinds["AR(1) .99 N(0,1)"] = normal(0, 1, 0.99)
    for level in (0.5, 0.9, 1.2):
        kinds[f"constant {level:g}"] = torch.full((rows, LENGTH), level)
    events = torch.rand(rows, LENGTH, generator=generator) < 0.05
    kinds["sparse: 5% of steps N(1,.5)"] = events * normal(1, 0.5)
    return kinds


def mismatch(guess: Tensor, truth: Tensor) -> dict[str, float]:
    """How guessed spikes differ from the true ones, both (N, L) booleans: shares of steps and of sequences, firing
    rates, and precision, recall and F1 of the spikes (1 where there is nothing to find)."""
    wrong = truth != guess
    hits, fired, claimed = (float(value.sum()) for value in (truth & guess, truth, guess))
    return {
        "wrong_steps": float(wrong.float().mean()),
        "wrong_sequences": float(wrong.any(-1).float().mean()),
        "rate": fired / truth.numel(),
        "guessed_rate": claimed / truth.numel(),
        "precision": hits / claimed if claimed else 1.0,
        "recall": hits / fired if fired else 1.0,
        "f1": 2 * hits / (fired + claimed) if fired + claimed else 1.0,
    }


def grade(network: Folded, tau: float, reset: str, kinds: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The mismatch with the iterative neuron on every kind of input (N, L), with its mean, std and correlation."""
    x = torch.cat(list(kinds.values()))
    truth = simulate(tau, reset, x)[1] > 0
    guess = network.predict(x) + x >= 1
    rows = [len(kind) for kind in kinds.values()]
    graded = []
    for name, *parts in zip(kinds, x.split(rows), guess.split(rows), truth.split(rows), strict=True):
        entry = {**dict(zip(MOMENTS, moments(parts[0]).mean(0).tolist(), strict=True)), **mismatch(*parts[1:])}
        graded.append({"input": name, **{key: float(f"{value:.4g}") for key, value in entry.items()}})
    return graded
