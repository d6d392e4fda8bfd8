"""Numbers of spikes, judged: a multi-spike layer's integers against its float program, and planted faults."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import spikestrip as ss
from convert.lowering.speck import speck
from deploy.verify import verify
from simulators.run import simulate
from spikestrip import execution, ledger, trace
from spikestrip.operations import UNBOUNDED, Affine, MultiSpikeIF
from spikestrip.program import Program, chain
from spikestrip.recorded import Trace


def network(seed: int = 0, floor: float = -1.0, size: float = 0.5, inputs: int = 12) -> Program:
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0.15, size, shape).astype(np.float32)

    return chain((inputs,), [
        ("n00_in", Affine(weights(8, inputs))), ("n01_spike", MultiSpikeIF(np.ones(8), np.full(8, floor))),
        ("n02_out", Affine(weights(4, 8))), ("n03_spike", MultiSpikeIF(np.ones(4), np.full(4, floor))),
    ])  # fmt: skip


def events(seed: int = 0, samples: int = 4, steps: int = 60, most: int = 3, inputs: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(
        rng.integers(0, most + 1, (samples, steps, inputs)) * (rng.random((samples, steps, inputs)) < 0.3), np.float32
    )


def replaced(program: Program, name: str, operation: object) -> Program:
    return dataclasses.replace(
        program,
        layers=tuple(
            dataclasses.replace(layer, operation=operation) if layer.name == name else layer for layer in program.layers
        ),
    )


def posing(program: Program, made_by: Program, x: np.ndarray) -> Trace:
    """A trace that says it ran ``program``, and was made by another; its counters are those of what it recorded."""
    made = simulate(made_by, x)
    made.attrs["program_sha256"] = program.sha256
    made.events = ledger.count(program, x, made.numbers)
    return made


def test_a_trace_holds_how_many_in_every_backend(tmp_path: Path) -> None:
    program, x = network(), events()
    given = simulate(program, x)
    assert {name: (sent.shape, sent.max() > 1) for name, sent in given.numbers.items()} == {
        "n01_spike": ((4, 60, 8), True), "n03_spike": ((4, 60, 4), True),
    }  # fmt: skip
    np.testing.assert_array_equal(given.numbers["n03_spike"], given.output)
    for backend in ("raster", "torch", "sinabs"):
        other = simulate(program, x, backend)
        for name, sent in given.numbers.items():
            np.testing.assert_array_equal(other.numbers[name], sent)
    trace.write(tmp_path / "a.h5", given)
    for name, sent in trace.read(tmp_path / "a.h5").numbers.items():
        np.testing.assert_array_equal(sent, given.numbers[name])
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["numbers/n01_spike"][0, 0, 0] = -1
    with pytest.raises(ss.SpikestripError, match="below 0"):
        trace.read(tmp_path / "a.h5")


@pytest.mark.parametrize("seed", range(3))
def test_integers_differ_by_quantisation_and_pass(seed: int) -> None:
    """Every differing number has a cause; by hand, in float64: where both histories agree so far, the float u' decides
    one number and the integers' another."""
    program, x = network(seed), events(seed)
    lowered = speck(program).program
    reference, ran = simulate(program, x), simulate(lowered, x, attrs={"quantised_from": program.sha256})
    verdict = verify(reference, ran, program, trace_program=lowered)
    assert verdict.passed, verdict.failures
    differ = {name: int((sent != reference.numbers[name]).sum()) for name, sent in ran.numbers.items()}
    assert {name: layer["differ"] for name, layer in verdict.layers.items()} == differ
    assert sum(differ.values()) > 0
    assert set(verdict.causes) <= {"quantisation", "carried"}
    first = verdict.first
    assert first is not None
    assert first["cause"] == "quantisation"
    assert int(first["reference_potential"]) == first["reference_spike"] != first["spike"]
    assert not verify(reference, ran, program).passed  # undeclared without the integers' program


def test_every_changed_number_of_integers_is_a_fault() -> None:
    program, x = network(1), events(1)
    lowered = speck(program).program
    reference, ran = simulate(program, x), simulate(lowered, x)
    rng = np.random.default_rng(0)
    for name in ran.numbers:
        for by in (1, 5):
            forged = copy.deepcopy(ran)
            at = tuple(rng.integers(0, size) for size in ran.numbers[name].shape)
            forged.numbers[name][at] += by
            forged.output = forged.numbers["n03_spike"].astype(np.float64)
            forged.events = ledger.count(lowered, x, forged.numbers)
            assert not verify(reference, forged, program, trace_program=lowered).passed, (name, by)


def test_saturation_is_named() -> None:
    """No floor in float, the end of 16 bits in integers: a neuron driven far down comes back too early."""
    weight = np.array([[1.0, -1.0]], np.float32)
    program = chain((2,), [("w", Affine(weight)), ("s", MultiSpikeIF(np.ones(1), np.full(1, UNBOUNDED)))])
    lowered = speck(program).program  # scale 127: the end lies 258 thresholds below 0
    x = np.zeros((1, 70, 2), np.float32)
    x[0, :30, 1] = 10
    x[0, 30:, 0] = 10
    reference, ran = simulate(program, x), simulate(lowered, x)
    verdict = verify(reference, ran, program, trace_program=lowered)
    assert verdict.passed, verdict.failures
    assert verdict.causes == {"saturation": verdict.differ}
    assert verdict.differ == 5  # 300 - 258 = 42 thresholds too early, 10 a step: steps 55 to 59


def test_float32_and_float64_differ_by_rounding_alone() -> None:
    program, x = network(2, size=0.37), events(2, steps=300)
    verdict = verify(simulate(program, x), simulate(program, x, dtype="float32"), program)
    assert verdict.passed, verdict.failures
    assert set(verdict.causes) <= {"rounding", "carried", "tie"}


Fault = Callable[[Program], Program]


class Resetting(MultiSpikeIF):
    """Its potential is 0 after a spike."""

    def reset(self, xp, state, potential, spikes):  # type: ignore[no-untyped-def]
        return {"u": np.maximum(potential, self.floor) * (spikes == 0)}


def with_neuron(kind: type[MultiSpikeIF], **fields: np.ndarray) -> Fault:
    def fault(program: Program) -> Program:
        own = program["n01_spike"].operation
        assert isinstance(own, MultiSpikeIF)
        return replaced(program, "n01_spike", kind(**(vars(own) | fields)))

    return fault


def late(program: Program) -> Program:
    layers = [
        dataclasses.replace(layer, inputs=(), delayed=layer.inputs) if layer.name == "n02_out" else layer
        for layer in program.layers
    ]
    return dataclasses.replace(program, layers=tuple(layers))


def scaled(program: Program) -> Program:
    own = program["n02_out"].operation
    assert isinstance(own, Affine)
    return replaced(program, "n02_out", Affine(own.weight * np.float32(1.25)))


@pytest.mark.parametrize(
    ("floor", "fault", "layer", "cause", "says"),
    [
        (-1.0, with_neuron(Resetting), "n01_spike", "reset", "a reset to 0"),
        (-1.0, with_neuron(MultiSpikeIF, floor=np.full(8, UNBOUNDED)), "n01_spike", "reset", "no floor"),
        (-1.0, late, "n03_spike", "delay", "n03_spike by 1"),
        (UNBOUNDED, scaled, "n03_spike", "parameter", "layer n02_out with its weight scaled by 1.2"),
        (-1.0, scaled, "n03_spike", "unexplained", ""),  # at a floor u' isn't linear in a scale
    ],
)
def test_planted_faults(floor: float, fault: Fault, layer: str, cause: str, says: str) -> None:
    program, x = network(3, floor), events(3)
    verdict = verify(simulate(program, x), posing(program, fault(program), x), program)
    assert not verdict.passed
    assert set(verdict.layers[layer]["causes"]) - {"carried"} == {cause}
    assert any(says in sentence and layer in sentence for sentence in verdict.failures), verdict.failures
    others = {name: entry["causes"] for name, entry in verdict.layers.items() if name != layer}
    assert all(set(causes) <= {"carried"} for causes in others.values()), others


def test_a_tie_that_is_decided_the_other_way_is_comparison() -> None:
    """Whole numbers: u' = 2 is two spikes. A machine that fires above its threshold alone sends one, and keeps 1."""
    program = chain((2,), [("w", Affine(np.eye(2, dtype=np.float32))), ("s", MultiSpikeIF(np.ones(2), -np.ones(2)))])
    x = np.random.default_rng(0).integers(0, 4, (1, 40, 2)).astype(np.float32)
    made, u = simulate(program, x), np.zeros(2)
    for t in range(40):
        u = u + x[0, t]
        made.numbers["s"][0, t] = np.maximum(np.ceil(u) - 1, 0)
        u = u - made.numbers["s"][0, t]
    made.output = made.numbers["s"].astype(np.float64)
    made.events = ledger.count(program, x, made.numbers)
    verdict = verify(simulate(program, x), made, program)
    assert not verdict.passed
    assert "comparison" in verdict.causes
    assert set(verdict.causes) <= {"comparison", "carried"}
    assert verdict.contradictions["trace"].keys() == {"comparison"}


def test_without_numbers_they_are_not_compared_and_that_is_said() -> None:
    program, x = network(), events()
    reference, other = simulate(program, x), simulate(program, x)
    other.numbers = {}
    verdict = verify(reference, other, program)
    assert verdict.passed
    assert any("n01_spike" in note and "how many" in note for note in verdict.notes)


def test_the_record_takes_the_place_of_what_is_sent() -> None:
    """u = 0 + 2.5 - 1*1: clamped to one spike where two were due, 1.5 is left."""
    program = chain((1,), [("s", MultiSpikeIF(np.ones(1), -np.ones(1)))])
    stepper = execution.Stepper(program, 1)
    assert stepper.step(np.array([[2.5]]), {"s": np.array([[1.0]])})["s"] == 1
    assert stepper.state["s"]["u"] == 1.5
    assert stepper.step(np.array([[0.0]]), {})["s"] == 1  # nothing recorded: its own
