"""Cases of the operations between neurons: synapses, SSM, graded values, and what graphs of others bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from simulators.backends import Dtype
from simulators.conformance import networks
from simulators.conformance.case import ROUNDING, Case
from spikestrip.operations import (
    GLU,
    LIF,
    UNBOUNDED,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    LayerNorm,
    LeakyIntegrator,
    MaxPool2d,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    Pad,
    Reshape,
    Scale,
    SumPool2d,
    Threshold,
)
from spikestrip.program import chain


def graded(dtype: Dtype) -> Iterator[Case]:
    """Operations on graded values, each before a neuron where that keeps the case exact."""
    rng = np.random.default_rng(21)
    small = ROUNDING[dtype]

    def alone(name: str, situation: str, operation: Operation, x: np.ndarray, tolerance: float = 0.0) -> Case:
        program = chain(x.shape[2:], [(f"n00_{name}", operation)])
        return Case(name, situation, dtype, program, x.astype(dtype), tolerance)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape)

    grid = rng.integers(-4, 5, (3, 6, 4)) / 2
    halves = (rng.integers(-2, 3, (7, 4)) / 2).astype(np.float32)
    yield alone("affine", "exact", Affine(halves, halves[:, 0].copy()), grid)
    yield alone("affine", "no_bias", Affine(halves), grid)
    yield alone("affine", "noise", networks.affine(rng, 33, 17, 0.3), normal(2, 5, 33), small)
    yield alone("affine", "last_axis", Affine(halves), rng.integers(-4, 5, (2, 4, 3, 4)) / 2)
    yield alone("scale", "noise", Scale(normal(6).astype(np.float32)), normal(2, 5, 6))
    for modes in (1, 3, 4, 7):
        s4d = networks.s4d(rng, 5, modes)
        program = chain((5,), [("n00_ssm", s4d), ("n01_spike", LIF(np.array([0.0, 0.125, 0.5, 0.9, 0.3]), np.ones(5)))])
        yield Case("s4d", f"{modes}_modes", dtype, program, normal(3, 61, 5).astype(dtype))
    yield alone("s4d", "one_step", networks.s4d(rng, 3, 2), normal(1, 1, 3))
    yield alone("s4d", "silence", networks.s4d(rng, 3, 2), np.zeros((2, 5, 3)))
    faulty = alone("s4d", "overflow", networks.s4d(rng, 3, 2), np.full((1, 9, 3), np.finfo(dtype).max))
    yield dataclasses.replace(faulty, faulty=True)
    yield alone("li", "noise", LeakyIntegrator(rng.uniform(0, 1, 4)), normal(2, 40, 4))
    yield alone("li", "undamped", LeakyIntegrator(np.ones(4)), normal(2, 40, 4))
    yield alone("li", "gain_and_bias", LeakyIntegrator(*rng.uniform(0, 1, (3, 4))), normal(2, 40, 4))
    several = MultiSpikeIF(np.array([0.5, 1.0, 0.25, 2.0]), np.array([-0.5, -1.0, 0.0, -4.0]))
    yield alone("if_several", "edges", several, rng.integers(-6, 9, (3, 30, 4)) / 4)
    yield alone("if_several", "noise", several, normal(2, 40, 4))
    yield dataclasses.replace(alone("if_several", "nan", several, np.full((1, 3, 4), np.nan)), faulty=True)
    decay, gain, own = np.array([0.5, 0.25, 0.75, 0.0]), np.array([1, 2, 0.5, 1]), np.random.default_rng(22)
    leaking = MultiSpikeLIF(several.threshold, several.floor, decay, gain)
    yield alone("lif_several", "edges", leaking, own.integers(-6, 9, (3, 30, 4)) / 4)
    unbounded = MultiSpikeLIF(several.threshold, np.full(4, UNBOUNDED), own.uniform(0, 1, 4))
    yield alone("lif_several", "noise", unbounded, own.normal(size=(2, 40, 4)))
    yield dataclasses.replace(alone("lif_several", "nan", unbounded, np.full((1, 3, 4), np.nan)), faulty=True)
    yield alone("glu", "noise", GLU(), normal(2, 5, 8), small)
    yield alone("layer_norm", "noise", networks.layer_norm(rng, 7), normal(2, 5, 7), small)
    yield alone("layer_norm", "constant", LayerNorm(np.ones(4, np.float32), np.ones(4, np.float32)), np.ones((1, 3, 4)))


def foreign(dtype: Dtype) -> Iterator[Case]:
    """What only graphs of others hold, on small integers and halves: frames, wiring, a threshold without memory."""
    rng = np.random.default_rng(23)

    def halves(*shape: int) -> np.ndarray:
        return (rng.integers(-2, 3, shape) / 2).astype(np.float32)

    frames = rng.integers(-2, 3, (2, 4, 4, 6, 5)) / 2
    rows = rng.integers(-2, 3, (2, 4, 4, 9)) / 2
    dilated = Conv2d(halves(2, 4, 3, 2), halves(2), 2, 1, 1, 2, pad_top=1, pad_left=2)
    ties = rng.integers(-2, 3, (2, 5, 4)) / 2
    drawn: list[tuple[str, str, Operation, np.ndarray]] = [
        ("conv2d", "plain", Conv2d(halves(3, 4, 2, 3), halves(3)), frames),
        ("conv2d", "stride_dilation_padding", dilated, frames),
        ("conv2d", "groups", Conv2d(halves(4, 2, 2, 2), groups=2), frames),
        ("conv1d", "plain", Conv1d(halves(3, 4, 2), halves(3)), rows),
        ("conv1d", "stride_dilation_padding", Conv1d(halves(2, 4, 3), None, 2, 2, 1, 3), rows),
        ("sum_pool2d", "plain", SumPool2d(2, 2, 2, 2), frames),
        ("sum_pool2d", "padding", SumPool2d(3, 2, 1, 2, 1, 0, 1, 1), frames),
        ("avg_pool2d", "plain", AvgPool2d(2, 2, 2, 2), frames),
        ("max_pool2d", "plain", MaxPool2d(2, 2, 2, 2), frames),
        ("max_pool2d", "padding", MaxPool2d(3, 2, 2, 1, 1, 1, 1, 0, 1, 2), frames),
        ("max_pool2d", "rows", MaxPool2d(1, 3, 1, 2), rows),
        ("reshape", "split", Reshape("2,12,5"), frames),
        ("pad", "both_sides", Pad(1, 2, 1), frames),
        ("pad", "vector", Pad(0, 0, 3), rng.integers(-2, 3, (2, 4, 5)) / 2),
        ("flatten", "all", Flatten(), frames),
        ("flatten", "some", Flatten(1, 2), frames),
        ("delay", "mixed", Delay.of(np.array([0, 3, 1, 9])), rng.normal(size=(2, 7, 4))),
        ("threshold", "ties", Threshold(np.array([0.5, 0.0, -0.5, 1.0])), ties),
        ("threshold", "ties_at_or_above", Threshold(np.array([0.5, 0.0, -0.5, 1.0]), "ge"), ties),
    ]
    for name, situation, operation, x in drawn:
        yield Case(name, situation, dtype, chain(x.shape[2:], [(f"n00_{name}", operation)]), x.astype(dtype))
