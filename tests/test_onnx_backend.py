"""The ONNX Runtime backend against the numpy oracle and against neurons written out here."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from programs import exact_runs, gaussian, network, recurrent, runs

import simulators.backends.onnxruntime as module
from simulators.backends import Recording, check
from simulators.backends.numpy import NumpyBackend
from simulators.backends.onnxruntime import OnnxRuntimeBackend
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import (
    LIF,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Join,
    LeakyIntegrator,
    Operation,
    SumPool2d,
    Threshold,
)
from spikestrip.program import Layer, Program, chain

QUICK = settings(max_examples=25, deadline=None)


def simulate(program: Program, x: np.ndarray, dtype: str = "float64") -> Recording:
    return OnnxRuntimeBackend().run(program, x, dtype, "cpu", lambda steps: None)  # type: ignore[arg-type]


def oracle(program: Program, x: np.ndarray, dtype: str = "float64") -> Recording:
    return NumpyBackend().run(program, x, dtype, "cpu", lambda steps: None)  # type: ignore[arg-type]


def same_spikes(ours: Recording, theirs: Recording) -> None:
    assert list(ours.spikes) == list(theirs.spikes)
    for name, train in theirs.spikes.items():
        assert ours.spikes[name].dtype == np.uint8
        np.testing.assert_array_equal(ours.spikes[name], train, err_msg=name)


@QUICK
@given(runs())
def test_spikes_equal_the_oracle_in_float64(run: tuple[Program, np.ndarray]) -> None:
    ours, theirs = simulate(*run), oracle(*run)
    same_spikes(ours, theirs)
    np.testing.assert_allclose(ours.output, theirs.output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@QUICK
@given(run=exact_runs())
def test_exact_arithmetic_is_equal_to_the_last_bit_ties_included(run: tuple[Program, np.ndarray], dtype: str) -> None:
    ours, theirs = simulate(*run, dtype), oracle(*run, dtype)
    same_spikes(ours, theirs)
    assert ours.output.dtype == dtype
    np.testing.assert_array_equal(ours.output, theirs.output)


@pytest.mark.parametrize(
    ("hidden", "modes", "blocks", "batch", "steps"), [(13, 5, 3, 1, 157), (24, 7, 1, 64, 33), (65, 33, 2, 2, 101)]
)
@pytest.mark.parametrize("neuron", ["hard", "soft", "refractory"])
def test_spikes_equal_for_other_sizes(
    hidden: int, modes: int, blocks: int, batch: int, steps: int, neuron: str
) -> None:
    rng = np.random.default_rng(hidden)
    program = network(rng, hidden=hidden, modes=modes, blocks=blocks, neuron=neuron, norm="layer", mix="glu")  # type: ignore[arg-type]
    x = gaussian(rng, program, batch, steps)
    theirs = oracle(program, x)
    assert all(0 < train.mean() < 1 for train in theirs.spikes.values())
    same_spikes(simulate(program, x), theirs)


def test_delayed_edges_gain_bias_and_strict_comparison() -> None:
    rng = np.random.default_rng(5)
    program = recurrent(rng, hidden=11)
    x = gaussian(rng, program, 3, 150)
    ours, theirs = simulate(program, x), oracle(program, x)
    same_spikes(ours, theirs)
    np.testing.assert_array_equal(ours.output, theirs.output)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frames_windows_groups_and_delays(dtype: str) -> None:
    """Conv and pooling have no float64 kernels in ONNX Runtime; as shifted matrix products they need none."""
    rng = np.random.default_rng(8)

    def numbers(*shape: int) -> np.ndarray:
        return (rng.integers(-4, 5, shape) / 4).astype(np.float32)

    def lif(*shape: int) -> LIF:
        return LIF(rng.choice([0.25, 0.5], shape), rng.choice([0.5, 1.0], shape), reset_kind="soft")

    convolution = Conv2d(numbers(6, 2, 3, 2), numbers(6), 2, 1, 1, 2, 1, 0, 2, 1, groups=2)
    frames = chain(
        (4, 9, 11),
        [
            ("n0_conv", convolution),
            ("n1_spike", lif(6, 4, 12)),
            ("n2_mean", AvgPool2d(2, 4, 2, 2, 1, 0, 0, 1)),
            ("n3_sum", SumPool2d(2, 2, 1, 2)),
            ("n4_flat", Flatten()),
            ("n5_spike", Threshold(np.full(12, 0.5))),
        ],
    )
    lines = chain(
        (3, 20),
        [
            ("n0_conv", Conv1d(numbers(5, 3, 4), None, 2, 2, 3, 1)),
            ("n1_spike", lif(5, 9)),
            ("n2_delay", Delay.of(rng.integers(0, 4, (5, 9)))),
            ("n3_none", Delay.of(np.zeros((5, 9), int))),
            ("n4_one", Delay.of(np.ones((5, 9), int))),
        ],
    )
    for program in (frames, lines):
        x = numbers(3, 12, *program.input_shape)
        ours, theirs = simulate(program, x, dtype), oracle(program, x, dtype)
        assert 0 < theirs.spikes["n1_spike"].mean() < 1
        same_spikes(ours, theirs)
        np.testing.assert_array_equal(ours.output, theirs.output)


def test_odd_graphs() -> None:
    """Layers called x, y and step; nothing that remembers; loops of one; a delayed input; two delayed readers."""
    rng = np.random.default_rng(9)

    def affine(outputs: int, inputs: int) -> Affine:
        return Affine(rng.normal(size=(outputs, inputs)).astype(np.float32))

    lif = LIF(np.full(4, 0.5), np.full(4, 0.7))
    for program in (
        chain((3,), [("x", affine(4, 3)), ("y", affine(2, 4))]),
        Program((4,), (Layer("step", lif, ("input",), ("step", "input")),), "step"),
        Program((4,), (Layer("a", Join(), ("input",), ("b",)), Layer("b", lif, ("a", "input"), ("a",))), "a"),
        chain((1, 4), [("a", affine(4, 4)), ("b", LIF(np.full((1, 4), 0.5), np.full((1, 4), 0.7)))]),
    ):
        x = gaussian(rng, program, 2, 70)
        ours, theirs = simulate(program, x), oracle(program, x)
        same_spikes(ours, theirs)
        np.testing.assert_allclose(ours.output, theirs.output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("comparison", ["ge", "gt"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_neuron_written_out_in_fractions(reset: str, comparison: str) -> None:
    """One weight and one neuron, with ties, against exact rational arithmetic."""
    tau, vth, v_reset = Fraction(1, 2), Fraction(1), Fraction(-1, 4)
    one = np.ones(1)
    neuron = LIF(one * 0.5, one, None if reset == "soft" else one * -0.25, reset_kind=reset, comparison=comparison)  # type: ignore[arg-type]
    program = chain((1,), [("n0_w", Affine(np.full((1, 1), 0.5, np.float32))), ("n1_s", neuron)])
    u, inputs, expected = Fraction(0), [], []
    for value in np.random.default_rng(0).integers(-2, 5, 40).tolist():
        current = vth - tau * u if value == 0 else Fraction(value, 4)  # at 0 exactly up to the threshold
        inputs.append(float(2 * current))
        u = tau * u + current
        fired = u > vth or (u == vth and comparison == "ge")
        expected.append(int(fired))
        if fired:
            u = v_reset if reset == "hard" else u - vth
    x = np.array(inputs)[None, :, None]
    assert simulate(program, x).spikes["n1_s"][0, :, 0].tolist() == expected


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_chunks_of_any_length_equal_the_whole(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    rng = np.random.default_rng(1)
    program = recurrent(rng)
    x = gaussian(rng, program, 2, 50)
    whole = simulate(program, x)
    monkeypatch.setattr(module, "CHUNK_STEPS", steps)
    chunked = simulate(program, x)
    same_spikes(chunked, whole)
    np.testing.assert_array_equal(chunked.output, whole.output)


def test_progress_counts_every_step_and_one_step_is_enough() -> None:
    rng = np.random.default_rng(2)
    program = network(rng)
    for steps in (1, 131):
        done: list[int] = []
        OnnxRuntimeBackend().run(program, gaussian(rng, program, 2, steps), "float32", "cpu", done.append)
        assert sum(done) == steps


def test_no_steps_are_refused() -> None:
    with pytest.raises(BadInput, match="no steps"):
        simulate(network(np.random.default_rng(3)), np.zeros((1, 0, 3)))


def test_an_overflow_is_named_by_layer() -> None:
    program = chain((2,), [("n0_grows", LeakyIntegrator(np.full(2, 1e3)))])
    with pytest.raises(BadInput, match="n0_grows"):
        simulate(program, np.ones((1, 200, 2)), "float64")


def test_an_operation_that_onnx_cannot_say_is_refused_by_layer() -> None:
    @dataclasses.dataclass(eq=False)
    class Sorted(Operation):
        kind = "sorted"

        def output_shape(self, shape):  # type: ignore[no-untyped-def]
            return shape

        def step(self, xp, state, x):  # type: ignore[no-untyped-def]
            return state, xp.sort(x, axis=1)

    program = chain((2,), [("n0_odd", Sorted())])
    with pytest.raises(Refused, match=r"n0_odd \(sorted\).*sort"):
        check(OnnxRuntimeBackend(), program, "float64", "cpu")
