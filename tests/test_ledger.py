"""The ledger against counting one weight at a time, in integers, on streams from the plain interpreter."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import plain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import dyadic, exact_runs, grid, network, runs

from spikestrip import execution, ledger
from spikestrip.operations import GLU, LIF, S4D, Affine, Conv2d, LayerNorm, LeakyIntegrator, RefractoryLIF, Scale
from spikestrip.program import INPUT, Layer, Program, chain


def simulate(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    return execution.run(program, x, np, np.float64, np.asarray, lambda steps: None)[1]


def brute_force(program: Program, x: np.ndarray) -> dict[str, list[Counter[str]]]:
    """layer -> for every step what one sample (T, C) costs, weight by weight."""
    record = plain.run(program, x) | {INPUT: x.tolist()}
    spiking = {layer.name for layer in program.layers if layer.operation.kind in ("lif", "lif_refractory")}
    events: dict[str, list[Counter[str]]] = {}
    for layer in program.layers:
        sources = [*layer.inputs, *layer.delayed]
        kind = "synaptic_acs" if len(sources) == 1 and sources[0] in spiking else "effective_macs"
        events[layer.name] = []
        for t in range(len(x)):
            now = [record[source][t] for source in layer.inputs]
            before = [record[source][t - 1] if t else [0.0] * len(record[source][0]) for source in layer.delayed]
            entering = [sum(values) for values in zip(*now, *before, strict=True)]
            cost = _cost(layer.operation, entering, kind)
            cost["spikes"] = int(sum(record[layer.name][t])) if layer.name in spiking else 0
            events[layer.name].append(cost)
    return events


def _cost(operation: Any, entering: list[float], kind: str) -> Counter[str]:
    cost: Counter[str] = Counter()
    if isinstance(operation, Affine):
        for row in operation.weight.tolist():
            for weight, value in zip(row, entering, strict=True):
                cost["dense_macs"] += 1
                cost[kind] += int(weight != 0 and value != 0)
    elif isinstance(operation, Scale):
        for weight, value in zip(operation.scale.tolist(), entering, strict=True):
            cost["dense_macs"] += 1
            cost[kind] += int(weight != 0 and value != 0)
    elif isinstance(operation, GLU):
        for value in entering[: len(entering) // 2]:
            cost["dense_macs"] += 1
            cost["effective_macs"] += int(value != 0)
    elif isinstance(operation, LayerNorm):
        for _ in entering:  # the square, and the weight
            cost.update(dense_macs=2, effective_macs=2)
    elif isinstance(operation, S4D):
        for _ in entering:
            cost["state_macs"] += 1  # D x
            for _ in range(operation.a_re.shape[0]):
                cost.update(state_macs=4 + 2 + 2, state_updates=2)  # Abar h, Bbar x, the real part of C h
    elif isinstance(operation, LIF | LeakyIntegrator):
        for _ in entering:
            cost.update(state_macs=1, state_updates=1)
    elif isinstance(operation, RefractoryLIF):
        for _ in entering:
            cost.update(state_macs=3, state_updates=2)
    return cost


def check(program: Program, x: np.ndarray) -> None:
    counted = ledger.count(program, x, simulate(program, x))
    assert list(counted) == [layer.name for layer in program.layers]
    for sample, rows in enumerate(x.astype(np.float64)):
        for name, steps in brute_force(program, rows).items():
            for counter, values in counted[name].items():
                assert values.dtype == np.int64
                assert values[sample].tolist() == [step[counter] for step in steps], (name, counter)


@given(exact_runs())
def test_weights_and_activations_that_are_zero_cost_nothing(run: tuple[Program, np.ndarray]) -> None:
    check(*run)


@given(runs(mix="glu", norm="layer", blocks=1))
def test_gates_and_norms(run: tuple[Program, np.ndarray]) -> None:
    check(*run)


@given(st.integers(0, 100))
def test_delayed_edges_and_streams_that_add(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.choice(np.array([-0.5, 0.0, 0.5], np.float32), (4, 4))
    program = Program(
        (4,),
        (
            Layer("a", LIF(np.full(4, 0.5), np.full(4, 0.5)), (INPUT,), ("b", "c")),
            Layer("b", Affine(weight), ("a",)),
            Layer("c", Scale(weight[0]), ("a",)),
            Layer("d", Affine(weight.T), ("a", "c")),
            Layer("e", Affine(weight), (), ("a",)),
        ),
        "d",
    )
    check(program, grid(rng, program, 2, 7))


def test_by_hand() -> None:
    weight = np.array([[1, 0, 2], [0, 0, 3]], np.float32)
    program = chain((3,), [("spike", LIF(np.zeros(3), np.ones(3))), ("mix", Affine(weight))])
    x = np.array([[[1, 1, 1], [0, 1, 0], [1, 0, 2.0]]])
    counted = ledger.count(program, x, simulate(program, x))
    assert counted["spike"]["spikes"].tolist() == [[3, 1, 2]]
    assert counted["mix"]["synaptic_acs"].tolist() == [[3, 0, 3]]
    assert counted["mix"]["effective_macs"].tolist() == [[0, 0, 0]]
    assert counted["mix"]["dense_macs"].tolist() == [[6, 6, 6]]


def test_a_convolution_reaches_fewer_weights_at_the_border() -> None:
    """One spike in a 3 x 3 frame, kernel 2 x 2: the corner reaches one place, the middle four."""
    program = chain((1, 3, 3), [("spike", LIF(np.zeros((1, 3, 3)), np.ones((1, 3, 3)))),
                                ("conv", Conv2d(np.array([[[[1, 2], [0, 3]]]], np.float32)))])  # fmt: skip
    x = np.zeros((1, 3, 1, 3, 3))
    x[0, 0, 0, 0, 0] = x[0, 1, 0, 1, 1] = 1
    counted = ledger.count(program, x, simulate(program, x))["conv"]
    assert counted["synaptic_acs"].tolist() == [[1, 3, 0]]
    assert counted["dense_macs"].tolist() == [[16, 16, 16]]


def test_the_recorded_spikes_are_counted_not_recomputed_ones() -> None:
    program = chain((2,), [("spike", LIF(np.zeros(2), np.ones(2))), ("mix", Affine(np.ones((3, 2), np.float32)))])
    x = np.zeros((1, 2, 2))
    record = {"spike": np.array([[[1, 0], [1, 1]]], np.uint8)}
    counted = ledger.count(program, x, record)
    assert counted["spike"]["spikes"].tolist() == [[1, 2]]
    assert counted["mix"]["synaptic_acs"].tolist() == [[3, 6]]


@pytest.mark.parametrize("batch", [1, 3])
def test_samples_are_counted_apart(batch: int) -> None:
    rng = np.random.default_rng(0)
    program = dyadic(rng)
    x = grid(rng, program, 3)
    together = ledger.count(program, x, simulate(program, x))
    alone = ledger.count(program, x[:batch], simulate(program, x[:batch]))
    for name, counters in alone.items():
        for counter, values in counters.items():
            np.testing.assert_array_equal(values, together[name][counter][:batch])


def test_the_published_shape_of_a_network() -> None:
    """H = 128, N = 32, one block: the recurrence of the SSM is most of the work, and the ledger shows it."""
    rng = np.random.default_rng(0)
    program = network(rng, inputs=1, hidden=128, modes=32, blocks=1, classes=10)
    x = rng.normal(size=(1, 1, 1))
    counted = ledger.count(program, x, simulate(program, x))
    assert counted["n01_block0_ssm"]["state_macs"].tolist() == [[128 * (32 * 8 + 1)]]
    assert counted["n03_block0_mix"]["dense_macs"].tolist() == [[128 * 128]]
    fired = counted["n02_block0_spike"]["spikes"].item()
    assert counted["n03_block0_mix"]["synaptic_acs"].item() == 128 * fired > 0
