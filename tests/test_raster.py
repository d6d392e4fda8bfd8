"""The raster backend and the folded ledger against the oracle, which steps: every spike, output bit and event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_onnx_sessions import Foreign

from simulators.backends.numpy import NumpyBackend
from simulators.backends.raster import RasterBackend, synapses
from simulators.backends.raster.layers import TABLE
from simulators.conformance import networks
from simulators.run import simulate
from spikestrip import execution, ledger
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, Affine, Bernoulli, FixedLIF, FixedReadout, FixedS4D, LeakyIntegrator
from spikestrip.operations.bernoulli import LAP
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
    monkeypatch.setattr(execution, "PIECE", 7 * 8 * batch * hidden)  # pieces of a few steps: states are handed on
    same(expected, simulate(program, x, RasterBackend(), dtype))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_fifty_random_networks(part):
    for seed in range(50 * part, 50 * part + 50):
        rng = np.random.default_rng(seed)
        program = networks.network(
            rng, inputs=int(rng.integers(1, 5)), hidden=int(rng.integers(1, 70)), modes=int(rng.integers(1, 20)),
            blocks=int(rng.integers(1, 4)), neuron=rng.choice(["hard", "soft", "refractory"]),
            mix=rng.choice(["linear", "glu"]), norm=rng.choice([None, "layer"]), classes=int(rng.integers(1, 12)),
            readout=rng.choice(["mean", "sequence"]),
        )  # fmt: skip
        x = networks.gaussian(rng, program, int(rng.integers(1, 20)), int(rng.integers(1, 60)))
        against_stepping(program, x, rng.choice(["float32", "float64"]))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_fifty_foreign_graphs(part):
    for seed in range(50 * part, 50 * part + 50):
        graph = Foreign(seed, exact=False)
        against_stepping(graph.program, graph.x, ("float64", "float32")[seed % 2])


def against_stepping(program: Program, x: np.ndarray, dtype: str) -> None:
    expected = simulate(program, x, NumpyBackend(), dtype)
    expected.events = stepped_events(program, x, expected.spikes | expected.numbers)
    same(expected, simulate(program, x, RasterBackend(), dtype))


@pytest.mark.parametrize("low", [0, -40])
@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_spikes_have_the_bits_of_products(dtype, batch, low):
    """Weights of one magnitude, whose sums are exact in float64, and of many, whose sums depend on their order."""
    rng = np.random.default_rng(batch)
    weight = rng.normal(size=(37, 70)).astype(np.float32) * np.exp2(rng.integers(low, 1, (37, 70))).astype(np.float32)
    program = chain((70,), [
        ("n00", LIF(np.zeros(70), np.full(70, 0.5))), ("n01", Affine(weight, weight[:, 0])),
        ("n02", LIF(np.full(37, 0.9), np.full(37, 0.5))),
    ])  # fmt: skip
    against_stepping(program, networks.gaussian(rng, program, batch, 20), dtype)


def test_only_sums_that_are_exact_count_as_exact():
    one = np.ones((1, 1))
    assert synapses._exact(np.concatenate((one, one * 2.0**-52, one * 2.0**-52), 1))  # 1 + 2**-51: 52 digits
    assert not synapses._exact(np.concatenate((one, one * 2.0**-53), 1))  # a half of 1's last digit
    assert not synapses._exact(np.concatenate((one * 2.0**53, one), 1) * 1.5)
    assert synapses._exact(np.zeros((2, 3)))
    assert not synapses._exact(np.float32([[1 + 2.0**-23, 1 + 2.0**-22, 1]]))  # 3 + 3 * 2**-23 has 25 digits


def test_ties_fire_alike():
    rng = np.random.default_rng(0)
    program = networks.dyadic(rng, hidden=8)
    x = (rng.integers(-2, 4, (16, 6, *program.input_shape)) / 2).astype(np.float32)
    same(simulate(program, x, NumpyBackend()), simulate(program, x, RasterBackend()))


@pytest.mark.parametrize("steps", [1, 40, 700])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_spikes_are_drawn_alike(steps: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(steps)
    a, b = rng.normal(1, 0.3, 5).astype(np.float32), rng.normal(0.4, 0.2, 5).astype(np.float32)
    program = chain((5,), [("n00", Bernoulli(a, b, seed=3 << 40 | 9, layer=6, first_sample=11))])
    x = rng.normal(0, 0.3, (3, steps, 5)).astype(np.float32)
    ours = simulate(program, x, RasterBackend(), dtype)
    same(simulate(program, x, NumpyBackend(), dtype), ours)
    monkeypatch.setattr(execution, "PIECE", 7 * 8 * 3 * 5)  # pieces of a few steps, in the midst of a counter's four
    same(ours, simulate(program, x, RasterBackend(), dtype))


def test_a_stream_is_drawn_on_past_a_lap() -> None:
    operation = Bernoulli(np.ones(2, np.float32), np.zeros(2, np.float32), seed=3)
    x = np.full((9, 4, 2), 0.5, np.float32)
    state = {"step": np.full((4, 2), LAP - 5, np.float32), "lap": np.full((4, 2), 3, np.float32)}
    after, spikes = TABLE[Bernoulli](operation, state, x)
    expected, stepped = operation.over(np, state, x)
    np.testing.assert_array_equal(spikes, stepped)
    for name in ("step", "lap"):
        np.testing.assert_array_equal(after[name], expected[name])
        assert after[name].dtype == np.float32


def test_a_probability_that_overflows_is_refused() -> None:
    big = np.full(2, 1e38, np.float32)
    program = chain((2,), [("n00", Bernoulli(big, np.zeros(2, np.float32)))])
    x = np.zeros((3, 20, 2), np.float32)
    x[1, 7, 1] = 1e30
    for backend in (NumpyBackend(), RasterBackend()):
        with pytest.raises(BadInput, match="n00: state 'step' is no longer finite"):
            simulate(program, x, backend, "float32")


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
    for operation, x in [(each, x * factor) for each in [ssm, *neurons, FixedReadout()] for factor in (1, 1 << 11)]:
        state = {name: np.zeros((2, *shape)) for name, shape in operation.state_shapes((5,)).items()}
        expected = operation.over(np, state, x)
        found = TABLE[type(operation)](operation.bind(lambda array: array.astype(np.float64)), state, x)
        np.testing.assert_array_equal(found[1], expected[1])
        for name, value in expected[0].items():
            np.testing.assert_array_equal(found[0][name], value)
