"""Verify: every cause is planted, and must come out; nothing planted must pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import programs
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.verification.causes import EXPECTED, FAULTS
from deploy.verify import Verdict, command, verify
from simulators.backends.numpy import NumpyBackend
from simulators.conformance import networks
from simulators.run import simulate
from spikestrip import ledger, trace
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, S4D, Affine, Operation
from spikestrip.program import Layer, Program, chain
from spikestrip.trace import Trace

Spikes = dict[str, np.ndarray]
SLOW = settings(max_examples=15, deadline=None)


def ran(program: Program, x: np.ndarray, dtype: Any = "float64", of: Program | None = None, **attrs: Any) -> Trace:
    """A run of ``program`` that says it ran ``of``."""
    result = simulate(program, x, NumpyBackend(), dtype)
    result.attrs.update(program_sha256=(of or program).sha256, **attrs)
    return result


def of_spikes(program: Program, x: np.ndarray, spikes: Spikes, **attrs: Any) -> Trace:
    """The trace of a machine that fired ``spikes`` and did all else right."""
    stepper, outputs = Stepper(program, len(x)), []
    for t in range(x.shape[1]):
        fired = {name: train[:, t].astype(np.float64) for name, train in spikes.items()}
        outputs.append(stepper.step(x[:, t].astype(np.float64), fired)[program.output])
    said = {"backend": "test", "dtype": "float64", "form": "iterative", "program_sha256": program.sha256, "seed": 0}
    output = program.finish(np.stack(outputs, axis=1))
    return Trace(said | attrs, x, output, spikes, ledger.count(program, x, spikes))


def flipped(spikes: Spikes, rng: np.random.Generator, rate: float) -> Spikes:
    return {name: train ^ (rng.random(train.shape) < rate).astype(np.uint8) for name, train in spikes.items()}


def changed(program: Program, layer: str, change: Callable[[Any], Operation]) -> Program:
    """``program`` with the operation of each layer whose name holds ``layer`` changed."""
    layers = (
        dataclasses.replace(item, operation=change(item.operation)) if layer in item.name else item
        for item in program.layers
    )
    return dataclasses.replace(program, layers=tuple(layers))


def differing(a: Trace, b: Trace) -> int:
    return sum(int((a.spikes[name] != b.spikes[name]).sum()) for name in a.spikes)


def judged(reference: Trace, other: Trace, program: Program | None, trace_program: Program | None = None) -> Verdict:
    """The verdict, after the bookkeeping that always holds."""
    verdict = verify(reference, other, program, trace_program=trace_program)
    assert sum(verdict.causes.values()) == verdict.differ == differing(reference, other)
    for name, layer in verdict.layers.items():
        assert sum(layer["causes"].values()) == layer["differ"] == (reference.spikes[name] != other.spikes[name]).sum()
    json.dumps(verdict.to_dict(), allow_nan=False)
    return verdict


@pytest.fixture(scope="module")
def program() -> Program:
    return programs.network(np.random.default_rng(3), hidden=12, modes=4)


@pytest.fixture(scope="module")
def x(program: Program) -> np.ndarray:
    return programs.gaussian(np.random.default_rng(1), program, 6, 90)


@pytest.fixture(scope="module")
def right(program: Program, x: np.ndarray) -> Trace:
    return ran(program, x)


@SLOW
@given(programs.runs())
def test_equal_traces_pass(drawn: tuple[Program, np.ndarray]) -> None:
    program, x = drawn
    verdict = judged(ran(program, x), ran(program, x), program)
    assert verdict.passed
    assert verdict.causes == {}
    assert verdict.events == {"reference": "equal", "trace": "equal"}


@settings(max_examples=40, deadline=None)
@given(st.one_of(programs.runs(), programs.exact_runs()), st.data())
def test_a_flipped_spike_never_passes(drawn: tuple[Program, np.ndarray], data: st.DataObject) -> None:
    program, x = drawn
    reference = ran(program, x)
    name = data.draw(st.sampled_from(sorted(reference.spikes)))
    place = tuple(data.draw(st.integers(0, size - 1)) for size in reference.spikes[name].shape)
    spikes = {layer: train.copy() for layer, train in reference.spikes.items()}
    spikes[name][place] ^= 1
    flipped_trace = of_spikes(program, x, spikes)
    both = [(reference, flipped_trace), (flipped_trace, reference)]
    verdict = judged(*data.draw(st.sampled_from(both)), program)
    assert not verdict.passed
    first = verdict.first
    assert first is not None
    assert (first["layer"], first["sample"], first["step"], first["neuron"]) == (name, *place)
    assert first["cause"] in FAULTS
    assert not verify(reference, flipped_trace).passed


@SLOW
@given(programs.runs(), st.sampled_from(["", "sdn"]), st.floats(0, 0.5), st.integers(0, 99))
def test_causes_add_up_for_any_spikes(drawn: Any, parallel: str, rate: float, seed: int) -> None:
    program, x = drawn
    spikes = flipped(ran(program, x).spikes, np.random.default_rng(seed), rate)
    attrs = {"form": "parallel", "parallel": parallel} if parallel else {}
    verdict = judged(of_spikes(program, x, spikes, **attrs), ran(program, x), program)
    assert verdict.passed == (verdict.contradictions["reference"].keys() <= set(EXPECTED))


@pytest.mark.parametrize("steps", [1, 7, -4])
def test_a_shifted_trace_is_a_delay(program: Program, x: np.ndarray, right: Trace, steps: int) -> None:
    late = {}
    for name, train in right.spikes.items():
        late[name] = np.zeros_like(train)
        if steps > 0:
            late[name][:, steps:] = train[:, :-steps]
        else:
            late[name][:, :steps] = train[:, -steps:]
    verdict = judged(right, of_spikes(program, x, late), program)
    assert set(verdict.causes) == {"delay"}
    assert f"n02_block0_spike by {steps}," in verdict.failures[0]


def test_a_pipeline_delays_each_layer_by_its_depth(program: Program, x: np.ndarray, right: Trace) -> None:
    late = {name: np.roll(train, depth, axis=1) for depth, (name, train) in enumerate(right.spikes.items(), 1)}
    verdict = judged(right, of_spikes(program, x, late), program)
    assert set(verdict.causes) == {"delay"}
    assert "n02_block0_spike by 1, n06_block1_spike by 2" in verdict.failures[0]


def test_permuted_samples_are_named(program: Program, x: np.ndarray, right: Trace) -> None:
    order = [1, 2, 0, 3, 5, 4]
    verdict = judged(right, of_spikes(program, x, {n: train[order] for n, train in right.spikes.items()}), program)
    assert set(verdict.causes) == {"samples"}
    assert verdict.failures[0].startswith("samples: trace: 5 stand in another order")


@pytest.mark.parametrize("says", ["hard", "soft"])
def test_another_reset_is_named(x: np.ndarray, says: Any) -> None:
    program = programs.network(np.random.default_rng(5), hidden=12, neuron=says)
    did = changed(
        program, "_spike", lambda op: dataclasses.replace(op, reset_kind={"hard": "soft", "soft": "hard"}[says])
    )
    verdict = judged(ran(program, x), ran(did, x, of=program), program)
    assert not verdict.passed
    assert "reset" in verdict.causes
    assert set(verdict.causes) <= {"reset", "carried"}
    assert set(verdict.contradictions["trace"]) == {"reset"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_firing_only_above_the_threshold_is_a_comparison(dtype: str) -> None:
    rng = np.random.default_rng(0)
    program = programs.dyadic(rng, neuron="hard")
    x = programs.grid(rng, program, 8)
    did = changed(program, "_spike", lambda op: dataclasses.replace(op, comparison="gt"))
    verdict = judged(ran(program, x), ran(did, x, dtype, of=program), program)
    assert not verdict.passed
    assert "comparison" in verdict.causes
    assert set(verdict.causes) <= {"comparison", "carried"}


def test_a_scaled_threshold_is_found_with_its_scale(program: Program, x: np.ndarray, right: Trace) -> None:
    did = changed(program, "block1_spike", lambda op: dataclasses.replace(op, threshold=op.threshold * 1.1))
    verdict = judged(right, ran(did, x, of=program), program)
    assert set(verdict.causes) <= {"parameter", "carried"}
    low, high = (float(word) for word in verdict.failures[0].split("(by ")[1].split(")")[0].split(" to "))
    assert low <= 1.1 <= high < low * 1.05


def test_a_scaled_threshold_is_found_under_soft_reset(x: np.ndarray) -> None:
    program = programs.network(np.random.default_rng(5), hidden=12, neuron="soft")
    did = changed(program, "block0_spike", lambda op: dataclasses.replace(op, threshold=op.threshold * 0.9))
    verdict = judged(ran(program, x), ran(did, x, of=program), program)
    assert set(verdict.contradictions["trace"]) == {"parameter"}
    assert "threshold scaled by 0.9" in verdict.failures[0] or "threshold scaled by 0.8" in verdict.failures[0]


def test_a_scaled_decay_is_found_with_its_scale(program: Program, x: np.ndarray, right: Trace) -> None:
    did = changed(program, "block0_spike", lambda op: dataclasses.replace(op, decay=op.decay * 0.8))
    verdict = judged(right, ran(did, x, of=program), program)
    assert set(verdict.causes) <= {"parameter", "carried"}
    assert float(verdict.failures[0].split("decay scaled by ")[1].split()[0]) == pytest.approx(0.8, abs=0.03)


def test_another_weight_fails(program: Program, x: np.ndarray, right: Trace) -> None:
    did = changed(program, "encoder", lambda op: dataclasses.replace(op, weight=op.weight * np.float32(1.02)))
    verdict = judged(right, ran(did, x, of=program), program)
    assert not verdict.passed
    assert set(verdict.causes) <= {"input", "carried"}  # the first layer's weights scaled: the input scaled


def test_both_wrong_in_the_same_way_fails(program: Program, x: np.ndarray) -> None:
    did = changed(program, "_spike", lambda op: dataclasses.replace(op, reset_kind="soft"))
    verdict = judged(ran(did, x, of=program), ran(did, x, of=program), program)
    assert verdict.differ == 0
    assert not verdict.passed


def one_neuron(threshold: float, decay: float = 0.5) -> Program:
    lif = LIF(np.array([decay]), np.array([threshold]))
    return chain((2,), [("n0_sum", Affine(np.ones((1, 2), np.float32))), ("n1_spike", lif)])


def test_float32_may_round_and_what_follows_is_carried() -> None:
    program = one_neuron(1.0)
    x = np.array([[[1.0, -(2.0**-30)], [0.5, 0.0], [0.5, 0.0]]], np.float32)  # float32 reaches 1, float64 doesn't
    double, single = ran(program, x), ran(program, x, "float32")
    assert double.spikes["n1_spike"].ravel().tolist() == [0, 0, 0]
    assert single.spikes["n1_spike"].ravel().tolist() == [1, 0, 0]
    verdict = judged(double, single, program)
    assert verdict.passed
    assert verdict.causes == {"rounding": 1}
    x[0, 1] = 0.75, 0.0  # with half of the kept potential, 1.25: float64 fires a step later
    verdict = judged(ran(program, x), ran(program, x, "float32"), program)
    assert verdict.passed
    assert verdict.causes == {"carried": 1, "rounding": 1}


def test_a_tie_that_float32_rounds_is_a_tie() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        decay = rng.uniform(0.1, 0.9)
        x = np.array([[[0.5, 0.0], [rng.uniform(0.6, 1), 0.0]]], np.float32)
        program = one_neuron(decay * 0.5 + float(x[0, 1, 0]), decay)
        double, single = ran(program, x), ran(program, x, "float32")
        assert double.spikes["n1_spike"].ravel().tolist() == [0, 1]
        if differing(double, single):
            break
    verdict = judged(double, single, program)
    assert verdict.passed
    assert verdict.causes == {"tie": 1}


def test_float64_within_its_own_bound_passes_with_a_note() -> None:
    x = np.array([[[0.5, 0.0], [0.3, 1e-17]]], np.float32)  # a sum of two, which may be fused
    u = 0.7 * 0.5 + float(np.float32(0.3))
    program = one_neuron(np.nextafter(u, 1), 0.7)
    late = {"n1_spike": np.array([[[0], [1]]], np.uint8)}
    verdict = judged(ran(program, x), of_spikes(program, x, late), program)
    assert verdict.causes == {"rounding": 1}
    assert verdict.passed
    assert "float64" in verdict.notes[0]


@pytest.mark.parametrize(
    ("attrs", "declares"),
    [
        ({"form": "parallel", "parallel": "sdn", "dtype": "float64"}, True),
        ({"form": "parallel", "parallel": "pmbc", "iterations": 8}, True),
        ({"form": "parallel", "parallel": "pmbc"}, False),
        ({"form": "parallel", "parallel": "scan"}, False),
    ],
)
def test_a_declaration_alone_excuses_nothing(
    program: Program, x: np.ndarray, right: Trace, attrs: dict[str, Any], declares: bool
) -> None:
    spikes = flipped(right.spikes, np.random.default_rng(0), 3e-3)
    verdict = judged(of_spikes(program, x, spikes, **attrs), right, program)
    assert not verdict.passed
    assert ("undeclared" in verdict.causes) == declares
    assert ("give --checkpoint" in " ".join(verdict.failures)) == declares


@pytest.mark.parametrize("attrs", [{"form": "parallel", "parallel": "scan"}, {"form": "parallel", "parallel": "bptt"},
                                   {"dtype": "int24"}, {"dtype": ""}], ids=str)  # fmt: skip
@pytest.mark.parametrize("ssm", [False, True])
def test_above_the_threshold_is_no_exact_form(ssm: bool, attrs: dict[str, str]) -> None:
    """A machine with > for >=, on inputs that tie: an exact parallel form owes ties, an unknown dtype excuses none."""
    rng = np.random.default_rng(0)
    tying = chain((8,), [("a", LIF(np.full(8, 0.5), np.full(8, 0.5))), ("b", Affine(np.ones((2, 8), np.float32)))])
    if ssm:
        tying = networks.dyadic(rng, hidden=8)
    x = (rng.integers(-2, 4, (16, 6, *tying.input_shape)) / 2).astype(np.float32)
    strict = tying
    for layer in tying.spiking:
        strict = changed(strict, layer.name, lambda o: dataclasses.replace(o, comparison="gt"))
    side = ran(strict, x, of=tying)
    side.attrs.update(attrs)
    verdict = judged(ran(tying, x), side, tying)
    assert verdict.differ
    assert not verdict.passed


@pytest.mark.parametrize(("vth", "decay"), [(0.1, 0.0), (0.3, 0.5), (0.7, 0.9)])
def test_ties_of_float32_are_judged_in_float32(vth: float, decay: float) -> None:
    """Tenths tie in float32 and not in float64: a float32 machine with > for >= is wrong by its own arithmetic."""
    neurons = LIF(np.full(8, decay), np.full(8, vth))
    tying = chain((8,), [("a", neurons), ("b", Affine(np.ones((2, 8), np.float32)))])
    x = (np.random.default_rng(1).integers(-3, 8, (8, 100, 8)) / 10).astype(np.float32)
    strict = changed(tying, "a", lambda o: dataclasses.replace(o, comparison="gt"))
    wrong = ran(strict, x, "float32", of=tying)
    right = ran(tying, x, "float32")
    assert differing(right, wrong)
    for reference in (right, ran(tying, x)):
        verdict = judged(reference, wrong, tying)
        assert not verdict.passed
        assert "comparison" in verdict.contradictions["trace"]
        assert judged(reference, right, tying).passed


def test_a_permuted_reference_is_no_surrogate(program: Program, x: np.ndarray, right: Trace) -> None:
    spikes = flipped(right.spikes, np.random.default_rng(0), 3e-3)
    mixed = {name: np.roll(train, 1, axis=0) for name, train in spikes.items()}
    verdict = judged(of_spikes(program, x, mixed, form="parallel", parallel="sdn"), right, program)
    assert set(verdict.causes) == {"samples"}
    assert not verdict.passed


def test_a_quantised_trace_says_what_it_stands_for(program: Program, x: np.ndarray, right: Trace) -> None:
    def rounded(op: S4D) -> S4D:
        return dataclasses.replace(op, c_re=np.round(op.c_re * 16) / 16, c_im=np.round(op.c_im * 16) / 16)

    coarse = changed(program, "_ssm", rounded)
    with pytest.raises(BadInput, match="another program"):
        verify(right, ran(coarse, x), program)
    honest = ran(coarse, x, quantised_from=program.sha256)
    verdict = judged(right, honest, program, trace_program=coarse)
    assert verdict.passed
    assert verdict.contradictions["trace"]["quantisation"] > 0
    assert set(verdict.causes) <= {"quantisation", "carried"}
    assert verdict.events["trace"] == "equal"
    limit = float(np.median([op.operation.threshold.mean() for op in program.spiking]) * 2)
    saturating = ran(coarse, x, quantised_from=program.sha256, saturates_at=limit)
    verdict = judged(right, saturating, program, trace_program=coarse)
    assert set(verdict.contradictions["trace"]) == {"quantisation", "saturation"}


def test_a_declaration_without_its_program_excuses_nothing(program: Program, x: np.ndarray, right: Trace) -> None:
    def rounded(op: S4D) -> S4D:
        return dataclasses.replace(op, c_re=np.round(op.c_re * 16) / 16, c_im=np.round(op.c_im * 16) / 16)

    coarse = changed(program, "_ssm", rounded)
    verdict = judged(right, ran(coarse, x, quantised_from=program.sha256), program)
    assert not verdict.passed
    assert verdict.causes["undeclared"] > 0
    assert "give --trace-program" in " ".join(verdict.failures)
    with pytest.raises(BadInput, match="is not the program that the trace says it ran"):
        verify(right, ran(coarse, x, quantised_from=program.sha256), program, trace_program=program)


@pytest.mark.parametrize("what", ["one flip", "random", "silence", "complement", "output"])
def test_a_quantised_side_is_held_to_its_own_program(program: Program, x: np.ndarray, right: Trace, what: str) -> None:
    def rounded(op: S4D) -> S4D:
        return dataclasses.replace(op, c_re=np.round(op.c_re * 16) / 16, c_im=np.round(op.c_im * 16) / 16)

    coarse = changed(program, "_ssm", rounded)
    side = ran(coarse, x, quantised_from=program.sha256)
    rng = np.random.default_rng(0)
    for name, train in side.spikes.items():
        if what == "random":
            side.spikes[name] = (rng.random(train.shape) < 0.2).astype(np.uint8)
        elif what == "silence":
            side.spikes[name] = np.zeros_like(train)
        elif what == "complement":
            side.spikes[name] = 1 - train
    if what == "one flip":
        name = list(side.spikes)[-1]
        side.spikes[name] = side.spikes[name].copy()
        side.spikes[name][2, 80, 5] ^= 1
    elif what == "output":
        side.output = side.output + 123.0
    verdict = verify(right, side, program, trace_program=coarse)
    assert not verdict.passed
    assert verdict.failures


@pytest.mark.parametrize("kind", ["events", "observed", "output"])
def test_what_the_spikes_contradict_fails(program: Program, x: np.ndarray, right: Trace, kind: str) -> None:
    edited = ran(program, x)
    if kind == "output":
        edited.output[3, 1] += 1e-6
    else:
        counted = edited.events["n03_block0_mix"]
        more = {"synaptic_acs": counted["synaptic_acs"] + np.eye(6, 90, 5, dtype=np.int64)}
        if kind == "events":
            edited.events["n03_block0_mix"] = counted | more
        else:
            edited.observed = {"n03_block0_mix": more}
    verdict = judged(right, edited, program)
    assert verdict.differ == 0
    assert not verdict.passed
    assert kind in verdict.failures[0]


def test_without_the_program(program: Program, x: np.ndarray, right: Trace) -> None:
    assert judged(right, ran(program, x), None).passed
    spikes = flipped(right.spikes, np.random.default_rng(0), 1e-2)
    verdict = judged(right, of_spikes(program, x, spikes), None)
    assert set(verdict.causes) == {"unexplained"}
    assert "--program" in verdict.failures[0]
    late = {name: np.roll(train, 2, axis=1) for name, train in right.spikes.items()}
    assert set(judged(right, of_spikes(program, x, late), None).causes) == {"delay"}
    mixed = {name: train[::-1] for name, train in right.spikes.items()}
    assert set(judged(right, of_spikes(program, x, mixed), None).causes) == {"samples"}
    other = ran(program, x)
    other.output = other.output + 0.1
    assert not judged(right, other, None).passed


def test_an_operation_without_a_rule_is_never_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.verification import bounds

    monkeypatch.delitem(bounds.RULES, "affine")
    program = one_neuron(1.0)
    x = np.array([[[1.0, -(2.0**-30)]]], np.float32)
    verdict = judged(ran(program, x), ran(program, x, "float32"), program)
    assert verdict.causes == {"unexplained": 1}
    assert any("no rounding bound is known" in note for note in verdict.notes)


def test_delayed_edges_are_replayed() -> None:
    rng = np.random.default_rng(2)
    program = programs.recurrent(rng)
    x = programs.gaussian(rng, program, 3, 40)
    assert judged(ran(program, x), ran(program, x), program).passed


def test_what_cannot_be_compared(program: Program, x: np.ndarray, right: Trace) -> None:
    def refused(other: Trace, reason: str, by: Program | None = program) -> None:
        with pytest.raises(BadInput, match=reason):
            verify(right, other, by)

    refused(ran(program, x + 1), "another input")
    refused(
        ran(changed(program, "_spike", lambda op: dataclasses.replace(op, reset_kind="soft")), x), "another program"
    )
    refused(dataclasses.replace(right, spikes=dict(list(right.spikes.items())[:1])), "other spiking layers")
    refused(dataclasses.replace(right, spikes={n: s[..., :-1] for n, s in right.spikes.items()}), "in the reference")
    refused(dataclasses.replace(right, output=right.output[:, :1]), "output is")
    unnamed = {name: value for name, value in right.attrs.items() if name != "program_sha256"}
    refused(dataclasses.replace(right, attrs=unnamed), "program_sha256")
    stranger = programs.network(np.random.default_rng(4), hidden=12, modes=4)
    refused(right, "is another one", stranger)


def test_the_command(program: Program, x: np.ndarray, right: Trace, tmp_path: Any) -> None:
    from convert.formats.nir.writing import write

    write(program, tmp_path / "model.nir")
    trace.write(tmp_path / "a.h5", right)
    spikes = {name: train.copy() for name, train in right.spikes.items()}
    spikes["n06_block1_spike"][1, 40, 3] ^= 1
    trace.write(tmp_path / "b.h5", of_spikes(program, x, spikes))
    trace.write(tmp_path / "c.h5", ran(program, x + 1))
    a, b, c, model = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5", "model.nir"))
    done = run(command, a, a, "--program", model, "--json", tmp_path / "verdict.json")
    assert (done.code, json.loads((tmp_path / "verdict.json").read_text())["verdict"]) == (0, "pass")
    done = run(command, a, b, "--program", model, "--json", tmp_path / "verdict.json")
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (done.code, verdict["verdict"], verdict["causes"], verdict["faults"]) == (
        1, "fail", {"unexplained": 1}, ["unexplained"],
    )  # fmt: skip
    assert (verdict["first"]["sample"], verdict["first"]["step"], verdict["first"]["neuron"]) == (1, 40, 3)
    assert verdict["layers"]["n06_block1_spike"]["first"]["potential"] is not None
    for arguments in ((a, c, "--program", model), (a, model), (a, tmp_path / "none.h5"), (a, b, "--program", a)):
        done = run(command, *arguments, "--json", tmp_path / "bad.json")
        assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "bad.json").exists()


def test_token_ids_are_replayed() -> None:
    rng = np.random.default_rng(0)
    program = programs.network(rng, inputs=7, hidden=8)
    ids = rng.integers(0, 7, (3, 20, 1))
    assert judged(ran(program, ids), ran(program, ids), program).passed


def test_two_layers_that_feed_one() -> None:
    """Three edges into one layer: a partial sum can exceed the whole, and the bound must know."""
    weights = [np.full((1, 1), value, np.float32) for value in (1e4, -1e4, 1.0)]
    layers = [Layer(f"n{i}_w", Affine(weight), ("input",)) for i, weight in enumerate(weights)]
    layers.append(Layer("n3_spike", LIF(np.zeros(1), np.array([0.3001])), ("n0_w", "n1_w", "n2_w")))
    program = Program((1,), tuple(layers), "n3_spike")
    x = np.random.default_rng(0).uniform(0.29, 0.31, (4, 200, 1)).astype(np.float32)
    verdict = judged(ran(program, x), ran(program, x, "float32"), program)
    assert verdict.passed
