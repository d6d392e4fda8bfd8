"""The Bernoulli neuron as an operation: its draws in Python's integers, in every language, in parts, and verified."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nir_interpreter import run as interpret
from test_bernoulli import python_philox

import simulators.reference
import simulators.run
from convert.formats.nir.reading import read
from convert.formats.nir.writing import graph, write
from convert.formats.onnx import assemble, export
from convert.strip import strip
from deploy.verify import verify
from simulators import backends
from simulators.backends.numpy import NumpyBackend
from simulators.reference import reference
from simulators.run import simulate
from spikestrip import ledger
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Bernoulli
from spikestrip.operations.bernoulli import LAP
from spikestrip.program import Program, at_sample, chain
from spikestrip.trace import Trace
from train.config import Config
from train.networks import Network

DTYPES = ["float32", "float64"]
word = st.integers(0, 2**32 - 100)


def neuron(width: int, seed: int = 5, layer: int = 2, first: int = 0) -> Bernoulli:
    a, b = np.linspace(0.5, 2, width, dtype=np.float32), np.linspace(-0.2, 0.4, width, dtype=np.float32)
    return Bernoulli(a, b, seed, layer, first)


def draw(operation: Bernoulli, sample: int, step: int, index: int) -> float:
    """r, by Python's integers."""
    words = python_philox([index, step // 4, operation.layer, operation.first_sample + sample], operation.seed)
    return words[step % 4] // 256 / 2**24


def network(**overrides: Any) -> Network:
    torch.manual_seed(4)
    values = {"d_input": 2, "d_output": 3, "d_model": 9, "d_state": 3, "model": "pspikessm", "reset": "none", "seed": 8}
    return Network(Config(**values | overrides)).eval()  # type: ignore[arg-type]


def normal(batch: int, steps: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, steps, size)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), layer=word, first=word, dtype=st.sampled_from(DTYPES))
def test_every_backend_fires_where_the_draw_is_below_p(seed: int, layer: int, first: int, dtype: Any) -> None:
    operation = neuron(3, seed, layer, first)
    x = normal(3, 9, 3, seed % 1000)
    program = chain((3,), [("n0", operation)])
    for name in ("numpy", "torch", "onnxruntime"):
        spikes = simulate(program, x, backends.load(name), dtype).spikes["n0"]
        for i, t, n in np.ndindex(x.shape):
            p = min(max(float(operation.a[n]) * float(x[i, t, n]) + float(operation.b[n]), 0.0), 1.0)
            r = draw(operation, i, t, n)
            assert spikes[i, t, n] == (r < p) or (dtype == "float32" and abs(r - p) < 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lap", [0, 1, 2**13])
def test_a_stream_goes_on_where_float32_stops_counting(lap: int, dtype: Any) -> None:
    """Steps about a lap's end, 2^33 in the last case, in numpy and in a step file under plain ONNX Runtime."""
    operation = dataclasses.replace(neuron(4), a=np.zeros(4, np.float32), b=np.full(4, 0.5, np.float32))
    model = assemble(export(chain((4,), [("n0", operation)]), "step", dtype))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    state = {"step": np.full((2, 4), LAP - 3, dtype), "lap": np.full((2, 4), lap, dtype)}
    names = ["n0.spikes", "n0.step.out", "n0.lap.out"]
    for t in range(lap * LAP + LAP - 3, lap * LAP + LAP + 6):
        feeds = {"x": np.zeros((2, 4), dtype), "n0.step": state["step"], "n0.lap": state["lap"]}
        spikes, step, laps = session.run(names, feeds)
        assert spikes.tolist() == [[draw(operation, i, t, n) < 0.5 for n in range(4)] for i in range(2)]
        state, ours = operation.step(np, state, feeds["x"])
        np.testing.assert_array_equal(ours, spikes)
        np.testing.assert_array_equal([state["step"], state["lap"]], [step, laps])
    assert state["lap"].tolist() == [[lap + 1] * 4] * 2


@pytest.mark.parametrize("name", ["numpy", "torch", "onnxruntime"])
def test_a_batch_run_in_parts_draws_as_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = strip(network())
    x = normal(7, 20, 2)
    whole = simulate(program, x, backends.load(name))
    monkeypatch.setattr(simulators.run, "_PART_BYTES", 3 * 20 * 2 * 8)
    parts = simulate(program, x, backends.load(name))
    for layer, train in whole.spikes.items():
        np.testing.assert_array_equal(parts.spikes[layer], train)
        assert any((train[i] != train[0]).any() for i in range(3, 7))
    # a matrix product of one row may round in another way than that of many
    np.testing.assert_allclose(parts.output, whole.output, rtol=0, atol=1e-13)
    assert parts.attrs["program_sha256"] == whole.attrs["program_sha256"] == program.sha256
    assert parts.attrs["seed"] == 8


@pytest.mark.parametrize("form", ["parallel", "iterative"])
def test_a_reference_made_in_parts_is_that_of_the_whole(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(5, 30, 2)
    whole = reference(network(), x, "iterative", "float64", "cpu")
    monkeypatch.setattr(simulators.reference, "BATCH", 2)
    parts = reference(network(), x, form, "float64", "cpu")
    for layer, train in whole.spikes.items():
        np.testing.assert_array_equal(parts.spikes[layer], train)


def test_at_sample_moves_every_drawing_layer_and_nothing_else() -> None:
    program = strip(network())
    assert at_sample(program, 0) is program
    moved = at_sample(at_sample(program, 3), 4)
    changed = [b.operation for a, b in zip(program.layers, moved.layers, strict=True) if a.operation is not b.operation]
    assert [(each.kind, each.first_sample) for each in changed] == [("bernoulli", 7)] * 4  # type: ignore[attr-defined]
    still = chain((2,), [("n0", program.layers[0].operation)])
    assert at_sample(still, 5) is still


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_runs_on_plain_onnx_runtime(dtype: Any, tmp_path: Path) -> None:
    program = strip(network(mix="glu"))
    x = normal(4, 25, 2).astype(dtype)
    model = assemble(export(program, dtype=dtype))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    zeros = {each.name: np.zeros((4, *each.shape[1:]), dtype) for each in session.get_inputs() if each.name != "x"}
    names = [each.name for each in session.get_outputs()]
    results = dict(zip(names, session.run(names, zeros | {"x": x.swapaxes(0, 1)}), strict=True))
    ours = simulate(program, x, NumpyBackend(), dtype)
    for layer, train in ours.spikes.items():
        differing = np.count_nonzero(results[f"{layer}.spikes"].swapaxes(0, 1) != train)
        assert differing == 0, layer


def test_nir_holds_it_and_poisons_whoever_knows_standard_nodes_alone(tmp_path: Path) -> None:
    program = strip(network(seed=2**63 - 1))
    write(program, tmp_path / "model.nir")
    assert read(tmp_path / "model.nir").sha256 == program.sha256
    values = interpret(graph(program), normal(1, 5, 2)[0][:, None])
    assert np.isnan(values["output"]).all()


def trace_of(
    program: Program, x: np.ndarray, spikes: dict[str, np.ndarray] | None = None, dtype: Any = "float64"
) -> Trace:
    """A run of ``program``, or that of a machine which fired ``spikes``."""
    right = simulate(program, x, NumpyBackend(), dtype)
    if spikes is None:
        return right
    return dataclasses.replace(right, spikes=spikes, events=ledger.count(program, x, spikes))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_one_flipped_draw_fails(data: st.DataObject) -> None:
    program = chain((4,), [("n0", neuron(4)), ("n1", neuron(4, layer=3))])
    x = normal(19, 6, 4)
    right = trace_of(program, x)
    assert verify(right, trace_of(program, x), program).passed
    assert verify(right, trace_of(program, x, dtype="float32"), program).passed
    name = data.draw(st.sampled_from(["n0", "n1"]))
    place = tuple(data.draw(st.integers(0, size - 1)) for size in x.shape)
    spikes = {layer: train.copy() for layer, train in right.spikes.items()}
    spikes[name][place] ^= 1
    verdict = verify(right, trace_of(program, x, spikes), program)
    assert not verdict.passed
    assert verdict.causes == {"unexplained": 1}
    assert verdict.first is not None
    assert (verdict.first["sample"], verdict.first["step"], verdict.first["neuron"]) == place


def test_draws_of_another_seed_or_of_other_samples_fail() -> None:
    program = chain((4,), [("n0", neuron(4))])
    x = normal(19, 40, 4)
    right = trace_of(program, x)
    for other in (chain((4,), [("n0", neuron(4, seed=6))]), at_sample(program, 1)):
        verdict = verify(right, trace_of(program, x, trace_of(other, x).spikes), program)
        assert not verdict.passed
        assert verdict.causes["unexplained"] > 100


def test_firing_at_the_draw_itself_is_a_fault_of_comparison_in_any_sample() -> None:
    operation = Bernoulli(np.ones(3, np.float32), np.zeros(3, np.float32), 5, 2)
    x = np.array([[[draw(operation, i, t, n) for n in range(3)] for t in range(7)] for i in range(19)])
    program = chain((3,), [("n0", operation)])
    right = trace_of(program, x)
    assert not right.spikes["n0"].any()
    spikes = right.spikes["n0"].copy()
    spikes[17, 5, 1] = 1
    verdict = verify(right, trace_of(program, x, {"n0": spikes}), program)
    assert verdict.causes == {"comparison": 1}
    assert not verdict.passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_silence(value: float) -> None:
    program = chain((3,), [("n0", neuron(3))])
    x = normal(2, 5, 3).astype(np.float64)
    x[1, 2, 0] = value
    for name in ("numpy", "torch", "onnxruntime"):
        with pytest.raises(BadInput, match="n0"), np.errstate(all="ignore"):
            backends.load(name).run(program, x, "float64", "cpu", lambda steps: None)


def test_what_it_costs() -> None:
    program = chain((4,), [("n0", neuron(4))])
    x = normal(2, 6, 4)
    trace = simulate(program, x, NumpyBackend())
    counted = trace.events["n0"]
    np.testing.assert_array_equal(counted["spikes"], trace.spikes["n0"].sum(axis=2))
    assert (counted["state_macs"] == 4).all()
    assert not any(counted[name].any() for name in ("state_updates", "synaptic_acs", "effective_macs", "dense_macs"))


def test_what_it_can_not_be_is_refused() -> None:
    for change in ({"seed": -1}, {"seed": 2**63}, {"layer": 2**32}, {"first_sample": -1}):
        with pytest.raises(BadInput, match=next(iter(change))):
            dataclasses.replace(neuron(3), **change)  # type: ignore[arg-type]
    for shape, operation in [
        ((2, 3), neuron(3)),
        ((4,), neuron(3)),
        ((3,), dataclasses.replace(neuron(3), b=np.ones(4))),
    ]:
        with pytest.raises(BadInput, match="bernoulli takes inputs"):
            chain(shape, [("n0", operation)])
    program = chain((3,), [("n1_draw", neuron(3))])
    with pytest.raises(Refused, match=r"n1_draw \(bernoulli\): sinabs has no bernoulli neuron"):
        simulate(program, normal(1, 2, 3), backends.load("sinabs"))
