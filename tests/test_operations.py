"""The operations against their equations (docs/api.md), in plain Python numbers and by hand."""

from __future__ import annotations

import math

import array_api_compat.torch as torch_xp
import numpy as np
import plain
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from programs import exact_runs, gaussian, recurrent, runs

from spikestrip import execution
from spikestrip.errors import BadInput
from spikestrip.operations import GLU, LIF, OPERATIONS, S4D, Affine, LayerNorm, LeakyIntegrator, RefractoryLIF, tree_sum
from spikestrip.program import Program, chain


def run(program: Program, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return execution.run(program, x, np, np.float64, np.asarray, lambda steps: None)[:2]


def fire(neuron: LIF | RefractoryLIF, *currents: float) -> list[int]:
    _, spikes = run(chain((1,), [("spike", neuron)]), np.array(currents).reshape(1, -1, 1))
    return spikes["spike"].ravel().tolist()


def one(value: float) -> np.ndarray:
    return np.array([value])


def test_hard_reset_by_hand() -> None:
    # u' = 0.75, 1.0 (fires at the threshold), 0.75, 0.375, 1.0625
    assert fire(LIF(one(0.5), one(1.0)), 0.75, 0.625, 0.75, 0.0, 0.875) == [0, 1, 0, 0, 1]


def test_soft_reset_keeps_what_is_above_the_threshold() -> None:
    # u' = 3, then 0.5*2 = 1 without input, then 0.5*0 = 0
    assert fire(LIF(one(0.5), one(1.0), reset_kind="soft"), 3.0, 0.0, 0.0) == [1, 1, 0]
    assert fire(LIF(one(0.5), one(1.0)), 3.0, 0.0, 0.0) == [1, 0, 0]


def test_above_the_threshold_is_not_at_it() -> None:
    above = math.nextafter(1.0, 2.0)
    assert fire(LIF(one(0.0), one(1.0), comparison="gt"), 1.0, above) == [0, 1]
    assert fire(LIF(one(0.0), one(1.0)), 1.0, math.nextafter(1.0, 0.0)) == [1, 0]


def test_reset_value_is_taken_only_by_neurons_that_fired() -> None:
    # u' = 0.25, 0.5 (fires, to -1), -1 + 0.75 = -0.25, 0.25
    assert fire(LIF(one(1.0), one(0.5), v_reset=one(-1.0)), 0.25, 0.25, 0.75, 0.5) == [0, 1, 0, 0]


def test_refractory_by_hand() -> None:
    # R = 0, 1, 0.5, 0.25; u' = 1, 1 - 2, 1 - 1, 1 - 0.5 + 0.5*0 ...
    neuron = RefractoryLIF(one(0.0), one(1.0), one(0.5), one(2.0))
    assert fire(neuron, 1.0, 1.0, 1.0, 1.0, 1.5) == [1, 0, 0, 0, 1]
    # without the soft reset the potential stays: 1, 1 + 0 - 1*1 (R = 1) = 0
    assert fire(RefractoryLIF(one(1.0), one(1.0), one(0.0), one(1.0), soft=False), 1.0, 0.0, 1.0) == [1, 0, 1]
    assert fire(RefractoryLIF(one(1.0), one(1.0), one(0.0), one(0.0), soft=False), 1.0, 0.0, 0.0) == [1, 1, 1]


def test_negative_inhibition_is_refused() -> None:
    with pytest.raises(BadInput, match="Uth"):
        RefractoryLIF(one(0.5), one(1.0), one(0.5), one(-0.1))


@given(runs())
def test_random_networks_spike_as_the_plain_equations_do(run_: tuple[Program, np.ndarray]) -> None:
    program, x = run_
    output, spikes = run(program, x)
    for sample, rows in enumerate(x.astype(np.float64)):
        record = plain.run(program, rows)
        for name, train in spikes.items():
            assert train[sample].tolist() == record[name], name
        np.testing.assert_allclose(output[sample], record[program.output], rtol=1e-9, atol=1e-9)


@given(exact_runs())
def test_exact_networks_are_bitwise_the_plain_equations(run_: tuple[Program, np.ndarray]) -> None:
    program, x = run_
    output, spikes = run(program, x)
    for sample, rows in enumerate(x.astype(np.float64)):
        record = plain.run(program, rows)
        assert output[sample].tolist() == record[program.output]
        assert all(train[sample].tolist() == record[name] for name, train in spikes.items())


@given(exact_runs())
def test_exact_networks_need_no_more_than_float32(run_: tuple[Program, np.ndarray]) -> None:
    program, x = run_
    output, _ = run(program, x)
    single, *_ = execution.run(program, x, np, np.float32, np.asarray, lambda steps: None)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, output)


@pytest.mark.parametrize("seed", range(5))
def test_what_foreign_graphs_hold_runs_as_the_plain_equations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = recurrent(rng)
    x = gaussian(rng, program, 1, 50)
    output, spikes = run(program, x)
    record = plain.run(program, x[0].astype(np.float64))
    assert spikes["n01_spike"][0].tolist() == record["n01_spike"]
    assert 0 < spikes["n01_spike"].mean() < 1
    np.testing.assert_allclose(output[0], record["n05_readout"], rtol=1e-12)


def halves(values: list[float]) -> float:
    """The halving tree as a recursion: element i pairs with i + size/2 at every level."""
    size = 1 << max(len(values) - 1, 0).bit_length()
    values = values + [0.0] * (size - len(values))
    return (
        values[0]
        if size == 1
        else halves([a + b for a, b in zip(values[: size // 2], values[size // 2 :], strict=True)])
    )


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=21))
def test_tree_sum_is_the_halving_tree_in_numpy_and_torch(values: list[float]) -> None:
    column = np.array(values).reshape(1, -1, 1)
    assert tree_sum(np, column).item() == halves(values)
    assert tree_sum(torch_xp, torch.from_numpy(column)).item() == halves(values)


def test_tree_sum_leaves_its_argument_and_other_axes_alone() -> None:
    x = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    kept = x.copy()
    np.testing.assert_array_equal(tree_sum(np, x), [[12, 15, 18, 21], [48, 51, 54, 57]])
    np.testing.assert_array_equal(x, kept)


def test_a_step_changes_neither_state_nor_input() -> None:
    rng = np.random.default_rng(0)
    for operation, size in (
        (LIF(rng.random(3), rng.random(3), reset_kind="soft"), 3),
        (RefractoryLIF(*rng.random((4, 3))), 3),
        (LeakyIntegrator(rng.random(3)), 3),
        (S4D(*rng.random((6, 2, 3)), rng.random(3)), 3),  # type: ignore[call-arg]
        (LayerNorm(np.ones(4), np.zeros(4)), 4),
        (GLU(), 4),
        (Affine(rng.random((2, 4))), 4),
    ):
        x = rng.normal(size=(2, size))
        state = {name: rng.random((2, *shape)) for name, shape in operation.state_shapes((size,)).items()}
        kept = {name: value.copy() for name, value in state.items()} | {"x": x.copy()}
        operation.step(np, state, x)
        for name, value in (state | {"x": x}).items():
            np.testing.assert_array_equal(value, kept[name])


def test_every_operation_has_its_own_kind() -> None:
    assert all(operation.kind == kind for kind, operation in OPERATIONS.items())


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        (Affine(np.ones((2, 3), np.float32)), (2,)),
        (Affine(np.ones((2, 3), np.float32), np.ones(3, np.float32)), (3,)),
        (LIF(np.ones(2), np.ones(3)), (2,)),
        (GLU(), (3,)),
        (LayerNorm(np.ones(3, np.float32), np.ones(2, np.float32)), (3,)),
        (S4D(*np.ones((6, 2, 3)), np.ones(2)), (2,)),  # type: ignore[call-arg]
    ],
)
def test_shapes_that_do_not_fit_are_refused(operation: object, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        operation.output_shape(shape)  # type: ignore[attr-defined]


@pytest.mark.parametrize("choice", [{"reset_kind": "medium"}, {"comparison": "lt"}])
def test_unknown_choices_are_refused(choice: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="not one of"):
        LIF(one(0.5), one(1.0), **choice)  # type: ignore[arg-type]
