"""The raster backend and the folded ledger against the oracle, which steps: every spike, output bit and event."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.backends.numpy import NumpyBackend
from simulators.backends.raster import RasterBackend, backend
from simulators.backends.raster.layers import over
from simulators.conformance import networks
from simulators.run import simulate
from spikestrip import ledger
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, Affine, Bernoulli, FixedLIF, FixedReadout, FixedS4D, LeakyIntegrator
from spikestrip.program import INPUT, Layer, Program, chain
from spikestrip.trace import Trace


def same(a: Trace, b: Trace) -> None:
    np.testing.assert_array_equal(a.output, b.output)
    for name, train in a.spikes.items():
        np.testing.assert_array_equal(train, b.spikes[name])
    for name, counters in a.events.items():
        for counter, values in counters.items():
            np.testing.assert_array_equal(values, b.events[name][counter])


def stepped_events(program: Program, x: np.ndarray, spikes: dict[str, np.ndarray]) -> ledger.Events:
    """What a step of every layer counts, one step after another, from the stepper's own streams."""
    stepper = Stepper(program, len(x))
    events: ledger.Events = {}
    for t in range(x.shape[1]):
        recorded = {n: s[:, t].reshape(len(x), *program.shapes[n]).astype(float) for n, s in spikes.items()}
        streams = stepper.step(x[:, t].astype(np.float64), recorded)
        for layer in program.layers:
            counted = ledger.count_step(program, layer, stepper.entering[layer.name], streams[layer.name])
            for counter, value in counted.items():
                table = events.setdefault(layer.name, {}).setdefault(counter, np.zeros(x.shape[:2], np.int64))
                table[:, t] = value
    return events


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("neuron", ["hard", "soft", "refractory"])
@pytest.mark.parametrize(("mix", "norm"), [("linear", None), ("glu", "layer")])
@pytest.mark.parametrize("batch", [1, 5])
def test_random_networks(neuron, mix, norm, batch, dtype, monkeypatch):
    rng = np.random.default_rng([batch, len(neuron), len(mix)])
    hidden, modes = int(rng.integers(1, 40)), int(rng.integers(1, 9))
    program = networks.network(rng, hidden=hidden, modes=modes, neuron=neuron, mix=mix, norm=norm)
    x = rng.normal(0, 1, (batch, 50, *program.input_shape)).astype(np.float32)
    expected = simulate(program, x, NumpyBackend(), dtype)
    expected.events = stepped_events(program, x, expected.spikes)
    assert sum(train.sum() for train in expected.spikes.values()) > 0
    same(expected, simulate(program, x, RasterBackend(), dtype))
    for module in (backend, ledger):
        monkeypatch.setattr(module, "PIECE", 7 * 8 * batch * hidden)  # pieces of a few steps: states are handed on
    same(expected, simulate(program, x, RasterBackend(), dtype))


def test_ties_fire_alike():
    rng = np.random.default_rng(0)
    program = networks.dyadic(rng, hidden=8)
    x = (rng.integers(-2, 4, (16, 6, *program.input_shape)) / 2).astype(np.float32)
    same(simulate(program, x, NumpyBackend()), simulate(program, x, RasterBackend()))


def test_random_spikes_are_drawn_alike():
    rng = np.random.default_rng(0)
    program = chain((4,), [("n00", Bernoulli(np.ones(4, np.float32), np.full(4, 0.5, np.float32), seed=3))])
    x = rng.normal(0, 0.3, (3, 40, 4)).astype(np.float32)
    same(simulate(program, x, NumpyBackend()), simulate(program, x, RasterBackend()))


def test_what_feeds_back_is_stepped_and_said():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.5, (6, 6)).astype(np.float32)
    program = Program(
        (6,),
        (
            Layer("a", LIF(np.full(6, 0.5), np.full(6, 0.7)), (INPUT,), ("b",)),
            Layer("b", Affine(weight), ("a",)),
            Layer("c", LeakyIntegrator(np.full(6, 0.9)), ("b",)),
        ),
        "c",
    )
    x = rng.normal(0, 1, (4, 30, 6)).astype(np.float32)
    trace = simulate(program, x, RasterBackend())
    same(simulate(program, x, NumpyBackend()), trace)
    assert trace.attrs["stepped"] == "b feeds back"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_integer_loops_are_the_steps(count: int) -> None:
    """Words from one to three, shifts both ways, modes of any number; currents that wrap, on 2^23 itself too."""
    rng = np.random.default_rng(count)

    def even(*shape: int) -> np.ndarray:
        return (2 * rng.integers(-127, 128, shape)).astype(np.int16)

    down = np.array([-9, -15, 1][:count], np.int8)
    turn = np.array([-10, -17, -20][:count], np.int8)
    real = -np.abs(even(count, 3, 5)) - 2
    real[0] = np.minimum(real[0], -128)
    ssm = FixedS4D(
        np.maximum(real, -254), even(count, 3, 5) // 4 * 2, turn, even(count, 3, 5), even(count, 3, 5), down,
        even(count, 3, 5), even(count, 3, 5), even(count, 5), down - 2, count,
    )  # fmt: skip
    drive = rng.integers(-4096, 4096, 5)
    neurons = [FixedLIF(3000, 100), FixedLIF(0, 131071, drive, 1), FixedLIF(7, 3, drive, -3, align=0)]
    x = rng.integers(-(1 << 18), 1 << 18, (40, 2, 5)).astype(float)
    x[3, 0], x[4, 0] = 1 << 17, -(1 << 17)  # 2^23 and its opposite once shifted
    for operation in [ssm, *neurons, FixedReadout()]:
        state = {name: np.zeros((2, *shape)) for name, shape in operation.state_shapes((5,)).items()}
        expected = operation.over(np, state, x)
        found = over(operation.bind(lambda array: array.astype(np.float64)), state, x)
        np.testing.assert_array_equal(found[1], expected[1])
        for name, value in expected[0].items():
            np.testing.assert_array_equal(found[0][name], value)
