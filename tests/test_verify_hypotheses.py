"""Verify: faults on the way to a layer are named by replaying them, and a name is never given for less."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import programs
import pytest

from deploy.verify import Verdict, verify
from simulators.backends.numpy import NumpyBackend
from simulators.run import simulate
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, S4D, Affine
from spikestrip.program import Program
from spikestrip.trace import Trace

SEEDS = range(4)
LAST = "n06_block1_spike"


def case(seed: int) -> tuple[Program, np.ndarray]:
    rng = np.random.default_rng(seed)
    program = programs.network(rng, hidden=12, modes=4, neuron=("hard", "soft")[seed % 2])
    return program, programs.gaussian(rng, program, 5, 90)


def changed(program: Program, name: str, change: Callable[[Any], Any]) -> Program:
    """``program`` with the one layer of this name changed."""
    return dataclasses.replace(
        program, layers=tuple(change(layer) if layer.name == name else layer for layer in program.layers)
    )


def by(**fields: Any) -> Callable[[Any], Any]:
    return lambda layer: dataclasses.replace(layer, operation=dataclasses.replace(layer.operation, **fields))


def judged(program: Program, x: np.ndarray, did: Trace, dtype: str = "float64") -> Verdict:
    did.attrs.update(program_sha256=program.sha256, dtype=dtype)
    return verify(simulate(program, x, NumpyBackend()), dataclasses.replace(did, events={}), program)


def named(verdict: Verdict, fault: str, dtype: str = "float64") -> str:
    """The sentence on the fault; in float32 a layer with next to no wrong decision may be excused, or systematic."""
    assert not verdict.passed
    aside = {"rounding", "systematic"} if dtype == "float32" else set()
    assert set(verdict.contradictions["trace"]) - aside == {fault}, verdict.failures
    assert set(verdict.causes) <= {fault, "carried"} | aside
    return next(sentence for sentence in verdict.failures if sentence.startswith(f"{fault}: trace"))


def of(program: Program, kind: type) -> list[str]:
    return [layer.name for layer in program.layers if isinstance(layer.operation, kind)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [Affine, S4D, LIF])
def test_a_layer_that_computes_with_the_previous_step_is_a_delay(kind: type, seed: int, dtype: Any) -> None:
    program, x = case(seed)
    name = of(program, kind)[1]
    late = changed(program, name, lambda layer: dataclasses.replace(layer, inputs=(), delayed=layer.inputs))
    verdict = judged(program, x, simulate(late, x, NumpyBackend(), dtype), dtype)
    if verdict.differ:
        named(verdict, "delay", dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_dropped_bias_is_named_with_its_layer(seed: int, dtype: Any) -> None:
    program, x = case(seed)
    name = of(program, Affine)[0]
    did = simulate(changed(program, name, by(bias=None)), x, NumpyBackend(), dtype)
    verdict = judged(program, x, did, dtype)
    assert f"layer {name} without its bias" in named(verdict, "bias", dtype)


@pytest.mark.parametrize("seed", SEEDS)
def test_swapped_neurons_are_wiring(seed: int) -> None:
    program, x = case(seed)
    right = simulate(program, x, NumpyBackend())
    rates = right.spikes[LAST].mean(axis=(0, 1))
    i, j = np.argsort(rates)[-2:]
    order = np.arange(rates.size)
    order[[i, j]] = j, i
    named(judged(program, x, recorded(program, x, right.spikes | {LAST: right.spikes[LAST][..., order]})), "wiring")


@pytest.mark.parametrize("seed", SEEDS)
def test_swapped_samples_of_one_layer_are_wiring(seed: int) -> None:
    program, x = case(seed)
    right = simulate(program, x, NumpyBackend())
    swapped = right.spikes | {LAST: right.spikes[LAST][[1, 0, 2, 3, 4]]}
    named(judged(program, x, recorded(program, x, swapped)), "wiring")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", ["scaled", "shifted"])
def test_a_changed_input_is_named_with_its_number(change: str, seed: int, dtype: Any) -> None:
    program, x = case(seed)
    given = (x * np.float32(1.25) if change == "scaled" else x + np.float32(0.25)).astype(np.float32)
    did = dataclasses.replace(simulate(program, given, NumpyBackend(), dtype), input=x)
    verdict = judged(program, x, did, dtype)
    sentence = named(verdict, "input", dtype)
    low, high = (float(word) for word in sentence.split("(by ")[1].split(")")[0].split(" to "))
    assert change in sentence
    assert low <= (1.25 if change == "scaled" else 0.25) <= high


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", ["all states", "the neuron's state"])
def test_state_that_is_kept_between_samples_is_named(what: str, seed: int) -> None:
    program, x = case(seed)
    spikes: dict[str, list[np.ndarray]] = {layer.name: [] for layer in program.spiking}
    outputs = []
    stepper = Stepper(program, 1)
    for sample in x.astype(np.float64):
        fresh = Stepper(program, 1)
        neurons = {layer.name: stepper.state[layer.name] for layer in program.spiking}
        if what != "all states":
            stepper.state = fresh.state | neurons
        for values in sample:
            streams = stepper.step(values[None])
            outputs.append(streams[program.output])
            for name, train in spikes.items():
                train.append(streams[name].astype(np.uint8))
    trains = {name: np.concatenate(train).reshape(*x.shape[:2], -1) for name, train in spikes.items()}
    verdict = judged(program, x, recorded(program, x, trains))
    assert what in named(verdict, "state")


@pytest.mark.parametrize("seed", SEEDS)
def test_scaled_weights_are_a_parameter_and_changed_ones_nothing(seed: int) -> None:
    program, x = case(seed)
    name = of(program, Affine)[1]
    operation: Any = program[name].operation
    did = simulate(changed(program, name, by(weight=operation.weight * np.float32(1.1))), x, NumpyBackend())
    verdict = judged(program, x, did)
    sentence = named(verdict, "parameter")
    low, high = (float(word) for word in sentence.split("(by ")[1].split(")")[0].split(" to "))
    assert f"layer {name} with its weight scaled" in sentence
    assert low <= 1.1 <= high
    rng = np.random.default_rng(seed)
    noisy = operation.weight * (1 + 0.2 * rng.normal(size=operation.weight.shape)).astype(np.float32)
    named(judged(program, x, simulate(changed(program, name, by(weight=noisy)), x, NumpyBackend())), "unexplained")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [3e-4, 1e-2, 0.2])
def test_random_flips_are_given_no_name(rate: float, seed: int) -> None:
    program, x = case(seed)
    rng = np.random.default_rng(seed)
    right = simulate(program, x, NumpyBackend())
    spikes = {n: train ^ (rng.random(train.shape) < rate).astype(np.uint8) for n, train in right.spikes.items()}
    verdict = judged(program, x, recorded(program, x, spikes))
    if verdict.differ:
        named(verdict, "unexplained")


def recorded(program: Program, x: np.ndarray, spikes: dict[str, np.ndarray]) -> Trace:
    """A machine that fired ``spikes`` and did all else right."""
    stepper, outputs = Stepper(program, len(x)), []
    for t in range(x.shape[1]):
        fired = {name: train[:, t].astype(np.float64) for name, train in spikes.items()}
        outputs.append(stepper.step(x[:, t].astype(np.float64), fired)[program.output])
    attrs: dict[str, Any] = {"backend": "test", "form": "iterative"}
    return Trace(attrs, x, program.finish(np.stack(outputs, axis=1)), spikes)


@pytest.mark.parametrize("field", ["threshold", "decay"])
@pytest.mark.parametrize("seed", SEEDS)
def test_one_neuron_of_other_parameters_is_named(seed: int, field: str) -> None:
    program, x = case(seed)
    neuron: Any = program[LAST].operation
    array = getattr(neuron, field).copy()
    array[3] *= 0.8
    did = simulate(changed(program, LAST, by(**{field: array})), x, NumpyBackend())
    verdict = judged(program, x, did)
    if verdict.differ < 12:  # too little to show it by
        assert not verdict.passed or not verdict.differ
        return
    assert "neuron 3: every decision follows" in named(verdict, "parameter")


@pytest.mark.parametrize("seed", SEEDS)
def test_one_weight_is_named(seed: int) -> None:
    program, x = case(seed)
    encoder = of(program, Affine)[0]
    weight = program[encoder].operation.weight.copy()  # type: ignore[attr-defined]
    weight[2, 1] += 2
    did = simulate(changed(program, encoder, by(weight=weight)), x, NumpyBackend())
    verdict = judged(program, x, did)
    assert verdict.differ > 12
    assert f"layer {encoder} with its weight [2, 1] other by " in named(verdict, "parameter")
