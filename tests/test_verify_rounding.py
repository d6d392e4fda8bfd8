"""The rounding bound holds for sums in any order, and a fault below it doesn't look like rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import programs
import pytest

from deploy.verification.bounds import Arithmetic, Running
from deploy.verification.systematic import systematic
from deploy.verify import verify
from simulators.backends.numpy import NumpyBackend
from simulators.clamped import Clamped
from simulators.run import simulate
from spikestrip.operations import LIF, Affine
from spikestrip.program import Program, chain


@pytest.mark.parametrize("seed", range(4))
def test_the_running_bound_holds_for_float32(seed: int) -> None:
    """A parallel form's covers float32 against extended precision, with everything rounded otherwise."""
    rng = np.random.default_rng(seed)
    program = programs.network(rng, hidden=12, modes=4)
    x = programs.gaussian(rng, program, 2, 40)
    spikes = simulate(program, x, NumpyBackend(), "float64").spikes
    sent = {name: train.swapaxes(0, 1) for name, train in spikes.items()}
    exact, single = (
        Clamped(program, 2, spikes, dtype).run(x.swapaxes(0, 1), sent) for dtype in (np.longdouble, np.float32)
    )
    bound = Running(program, Arithmetic("float32", 2.0**-24, True), 40).over(exact)
    for name, u in exact.potentials.items():
        assert (np.abs(u - single.potentials[name]) <= bound[name]).all()


def integrators(threshold: float) -> Program:
    weight = np.random.default_rng(0).normal(0.02, 0.3, (32, 16)).astype(np.float32)
    lif = LIF(np.ones(32), np.full(32, threshold))
    return chain((16,), [("n0_sum", Affine(weight)), ("n1_spike", lif)])


@pytest.mark.parametrize("scale", [1.1, 1.01])
def test_a_scaled_threshold_of_an_integrator_fails(scale: float) -> None:
    x = np.random.default_rng(1).normal(0, 1, (3, 400, 16)).astype(np.float32)
    program = integrators(1.5)
    right, wrong = (simulate(integrators(v), x, NumpyBackend(), "float32") for v in (1.5, 1.5 * scale))
    wrong.attrs["program_sha256"] = program.sha256
    assert any((right.spikes[name] != wrong.spikes[name]).any() for name in right.spikes)
    assert verify(right, right, program).passed
    assert not verify(right, wrong, program).passed


def test_one_product_is_exact() -> None:
    """One spike through one weight into a membrane: nothing is unknown, so that one ulp is a fault."""
    program = chain((2,), [("n0_sum", Affine(np.ones((1, 2), np.float32))), ("n1_spike", LIF(np.ones(1), np.ones(1)))])
    x = np.array([[[np.nextafter(np.float32(1), np.float32(0)), 0]]], np.float32)
    right = simulate(program, x, NumpyBackend(), "float32")
    wrong = dataclasses.replace(right, spikes={"n1_spike": np.ones((1, 1, 1), np.uint8)}, events={})
    assert not verify(right, wrong, program).passed


def test_what_looks_like_rounding() -> None:
    rng = np.random.default_rng(0)
    neurons, differed, none = np.arange(64), np.full(64, 1.0), np.zeros(64)
    assert systematic(rng.normal(0, 1, 64), neurons, differed, none) is None
    assert systematic(np.full(64, 0.5), neurons, differed, none) is None  # too near to mean anything
    assert "one way" in str(systematic(np.full(64, 3.0), neurons, differed, none))
    assert systematic(np.full(64, 3.0), np.zeros(64, int), differed, none) is None  # one neuron, one vote
    assert "lately" in str(systematic(np.array([9.0]), np.array([0]), differed[:1], none[:1]))
    assert systematic(np.array([9.0]), np.array([0]), differed[:1], np.array([1.0])) is None  # a large potential's ulps
