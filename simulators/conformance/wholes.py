"""Cases of whole programs: networks as the papers build them, cycles, streams that meet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulators.backends import Dtype
from simulators.conformance import networks
from simulators.conformance.case import ROUNDING, Case
from spikestrip.operations import (
    LIF,
    Affine,
    Join,
    LeakyIntegrator,
)
from spikestrip.program import INPUT, Layer, Program


def wholes(dtype: Dtype) -> Iterator[Case]:
    """Programs of many layers."""
    rng = np.random.default_rng(22)
    for neuron in ("hard", "soft", "refractory"):
        program = networks.dyadic(rng, neuron=neuron)
        yield Case(f"network_{neuron}", "ties", dtype, program, networks.grid(rng, program, 8).astype(dtype))
        if dtype == "float64":  # in float32 a dot product's rounding can decide a spike
            program = networks.network(rng, neuron=neuron)
            x = networks.gaussian(rng, program, 2, 41).astype(dtype)
            yield Case(f"network_{neuron}", "noise", dtype, program, x, ROUNDING[dtype])
    if dtype == "float64":
        program = networks.network(rng, mix="glu", norm="layer", readout="sequence")
        x = networks.gaussian(rng, program, 2, 41).astype(dtype)
        yield Case("network_glu_layer_norm", "noise", dtype, program, x, ROUNDING[dtype])
        program = networks.recurrent(rng)
        x = networks.gaussian(rng, program, 2, 41).astype(dtype)
        yield Case("recurrent_any", "noise", dtype, program, x, ROUNDING[dtype])
    yield Case("recurrent_lif", "ties", dtype, _loop(), (rng.integers(-2, 5, (4, 6, 2)) / 4).astype(dtype))
    yield Case("residual", "ties", dtype, _residual(), (rng.integers(-2, 5, (4, 6, 4)) / 2).astype(dtype))


def _loop() -> Program:
    """Two neurons that feed themselves and each other one step later, through weights."""
    weight = np.array([[0.5, -1.0], [1.0, 0.25]], np.float32)
    neurons = LIF(np.array([0.5, 0.0]), np.array([0.5, 0.75]))
    return Program(
        (2,),
        (
            Layer("n00_spike", neurons, (INPUT,), ("n01_feedback",)),
            Layer("n01_feedback", Affine(weight), ("n00_spike",)),
        ),
        "n00_spike",
    )


def _residual() -> Program:
    """Spikes that meet the graded stream which made them, and are summed over time."""
    return Program(
        (4,),
        (
            Layer("n00_spike", LIF(np.full(4, 0.5), np.ones(4)), (INPUT,)),
            Layer("n01_join", Join(), (INPUT, "n00_spike")),
            Layer("n02_readout", LeakyIntegrator(np.ones(4)), ("n01_join",)),
        ),
        "n02_readout",
        "mean",
    )
