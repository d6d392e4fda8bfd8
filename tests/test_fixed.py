"""Integer operations: their arithmetic written out in Python's own integers, their counted events, and stock Lava."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from deploy.verify import verify
from simulators.backends.lava import LavaBackend, report, stock, stock_run
from simulators.conformance import integers, networks
from simulators.run import simulate
from spikestrip import ledger
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import FixedAffine, FixedInput, FixedLIF, FixedReadout, FixedS4D, FixedScale, Join, Scale
from spikestrip.operations.fixed import held
from spikestrip.operations.fixed.words import message
from spikestrip.program import Layer, Program, chain

LAVA = any(distribution.name == "lava-nc" for distribution in distributions())
needs_lava = pytest.mark.skipif(not LAVA, reason="needs lava-nc")


@needs_lava
def test_the_models_of_lava_itself() -> None:
    """LIF, Dense, Sparse and DelayDense: every state and message equal (tests/stock_models.py)."""
    script = Path(__file__).with_name("stock_models.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_held() -> None:
    np.testing.assert_array_equal(held([[-300, -3, 3, 300]]), [[-256, -4, 2, 254]])
    np.testing.assert_array_equal(held([[3, 300]]), [[3, 255]])
    np.testing.assert_array_equal(held([[-3, -300]]), [[-3, -255]])


def test_s4d_in_python_integers() -> None:
    rng = np.random.default_rng(5)
    op = integers.s4d(rng, 3, 2)
    x = rng.integers(-5000, 5000, (40, 3))
    state = {name: np.zeros((1, 2, 3)) for name in ("re", "im")}
    re, im = ([[0] * 3 for _ in range(2)] for _ in range(2))

    def shift(total: int, exponent: int) -> int:
        return total << exponent if exponent >= 0 else total >> -exponent

    for row in x:
        old_re, old_im = [list(each) for each in re], [list(each) for each in im]
        for n in range(2):
            for h in range(3):
                p, q, u = old_re[n][h], old_im[n][h], int(row[h])
                for k in range(2):
                    a, b, e = int(op.a_re[k, n, h]), int(op.a_im[k, n, h]), int(op.a_exp[k])
                    c, d, f = int(op.b_re[k, n, h]), int(op.b_im[k, n, h]), int(op.b_exp[k])
                    re[n][h] += shift(a * p - b * q, e) + shift(c * u, f)
                    im[n][h] += shift(b * p + a * q, e) + shift(d * u, f)
                re[n][h] += op.rounding
                im[n][h] += op.rounding
        state, y = op.step(np, state, row[None].astype(float))
        np.testing.assert_array_equal(state["re"][0], re)
        np.testing.assert_array_equal(state["im"][0], im)
        for h in range(3):
            totals = [
                sum(int(op.c_re[k, n, h]) * re[n][h] + int(op.c_im[k, n, h]) * im[n][h] for n in range(2))
                + int(op.d[k, h]) * int(row[h])
                for k in range(2)
            ]
            assert y[0, h] == sum(shift(total, int(e)) for total, e in zip(totals, op.c_exp, strict=True))


def test_what_leaves_its_width_is_counted() -> None:
    """One value at the last place that is held, one beyond: 16 and 24 bits, int32, and the rail of a potential."""
    entry = FixedInput(0, 8)
    np.testing.assert_array_equal(entry.exceeded({}, np.array([[127.4, -127.4, 127.5, -129.0]])), [2])
    wide = FixedAffine(np.full((1, 1, 1), 255, np.int16), np.array([0], np.int8))
    assert wide.exceeded({}, np.array([[2.0**23 - 1]])) == [0]
    assert wide.exceeded({}, np.array([[2.0**23]])) == [1]
    assert wide.exceeded({}, np.array([[2.0**31 // 255 + 1]])) == [2]  # the message, and the sum in int32
    two = FixedAffine(np.full((2, 1, 1), 128, np.int16), np.array([0, 0], np.int8))
    assert two.exceeded({}, np.array([[2.0**23 - 1]])) == [0]
    assert FixedAffine(two.weight, two.exponent, np.array([256])).exceeded({}, np.array([[2.0**23 - 1]])) == [1]
    neuron = FixedLIF(0, 131071)
    assert neuron.exceeded({"v": np.zeros((1, 1))}, np.array([[32767.0]])) == [0]
    assert neuron.exceeded({"v": np.zeros((1, 1))}, np.array([[32768.0]])) == [1]
    assert neuron.exceeded({"v": np.full((1, 1), 2.0**23 - 65)}, np.array([[1.0]])) == [0]
    assert neuron.exceeded({"v": np.full((1, 1), 2.0**23 - 64)}, np.array([[1.0]])) == [1]
    assert FixedReadout().exceeded({"sigma": np.full((1, 1), 2.0**23 - 1)}, np.ones((1, 1))) == [1]


def test_the_ledger_holds_them() -> None:
    program = chain((1,), [("n00_entry", FixedInput(0, 16)), ("n01_spike", FixedLIF(0, 131071))])
    x = np.full((2, 4, 1), 32767.0)
    x[1, 2] = 40000
    spikes = {"n01_spike": np.zeros((2, 4, 1), np.uint8)}  # no reset: the potential reaches its rail in step 4
    events = ledger.count(program, x, spikes)
    np.testing.assert_array_equal(events["n00_entry"]["saturations"], [[0, 0, 0, 0], [0, 0, 1, 0]])
    assert "saturations" not in ledger.count(chain((1,), [("a", Scale(np.ones(1)))]), x, {})["a"]
    np.testing.assert_array_equal(events["n01_spike"]["saturations"], [[0, 0, 0, 0]] * 2)
    events = ledger.count(program, np.full((1, 6, 1), 32767.0), {"n01_spike": np.zeros((1, 6, 1), np.uint8)})
    np.testing.assert_array_equal(events["n01_spike"]["saturations"], [[0, 0, 0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("weight", "exponent"),
    [([[3, -2]], 0), ([[256, 2]], 0), ([[2, 2]], 31)],
    ids=["odd among mixed signs", "beyond 8 bits", "exponent"],
)
def test_words_that_no_process_holds(weight: list[list[int]], exponent: int) -> None:
    with pytest.raises(BadInput, match="fixed_affine"):
        FixedAffine(np.array([weight], np.int16), np.array([exponent], np.int8))


def test_a_mode_that_grows() -> None:
    op = integers.s4d(np.random.default_rng(1), 2, 2)
    values = {field: getattr(op, field) for field in op.arrays()}
    values["a_re"] = np.abs(values["a_re"])
    with pytest.raises(BadInput, match=r"\|A\| >= 1"):
        FixedS4D(**values)


def test_nir_holds_the_same_program(tmp_path: Path) -> None:
    program = integers.network(np.random.default_rng(2))
    write(program, tmp_path / "model.nir")
    assert read(tmp_path / "model.nir").sha256 == program.sha256


@needs_lava
def test_stock_lava_is_the_program() -> None:
    """Stock processes alone: spikes, answers and every last state; 11 samples are two runs, of 8 copies and of 3."""
    rng = np.random.default_rng(6)
    program = integers.network(rng)
    x = rng.random((11, 30, 2))
    seen = LavaBackend().run(program, x, "float64", "cpu", lambda steps: None)
    assert (seen.attrs["processes"], seen.attrs["delay"]) == ("stock", 5)
    stepper = Stepper(program, len(x))
    for t in range(x.shape[1]):
        streams = stepper.step(x[:, t])
        np.testing.assert_array_equal(seen.spikes["n02_spike"][:, t], streams["n02_spike"])
        np.testing.assert_array_equal(seen.output[:, t], streams["z_reals"])
    assert 0 < seen.spikes["n02_spike"].mean() < 1
    held_states = {name: {key for key in state} for name, state in stepper.state.items() if state}
    assert {name: set(state) for name, state in seen.states.items()} == held_states
    for name, state in seen.states.items():
        for key, values in state.items():
            np.testing.assert_array_equal(values, stepper.state[name][key], f"{name} {key}")


def overflowing(rng: np.random.Generator) -> tuple[Program, np.ndarray]:
    """``integers.network`` with messages of 24 bits and shifts to the left: every sum leaves int32 now and then."""
    program = integers.network(rng)
    larger = {
        "a_integers": FixedInput(22, 24),
        "n00_encoder": dataclasses.replace(program["n00_encoder"].operation, exponent=np.array([3, -6], np.int8)),
        "n01_ssm": dataclasses.replace(program["n01_ssm"].operation, b_exp=np.array([2, -6], np.int8)),
        "n03_mix": dataclasses.replace(program["n03_mix"].operation, exponent=np.array([23, -3], np.int8)),
        "n04_skip": dataclasses.replace(program["n04_skip"].operation, exponent=np.array([4], np.int8)),
        "n06_head": dataclasses.replace(program["n06_head"].operation, exponent=np.array([5, -3], np.int8)),
    }
    layers = tuple(
        dataclasses.replace(layer, operation=larger.get(layer.name, layer.operation)) for layer in program.layers
    )
    return dataclasses.replace(program, layers=layers), rng.random((5, 30, 2))


def test_sums_beyond_int32_wrap_alike_everywhere(tmp_path: Path) -> None:
    """numpy, torch, ONNX Runtime, raster and stock Lava; and the ledger counts them, in every layer that adds."""
    program, x = overflowing(np.random.default_rng(8))
    trace = simulate(program, x)
    for name in ("n00_encoder", "n01_ssm", "n03_mix", "n04_skip", "n06_head", "n07_readout"):
        assert trace.events[name]["saturations"].any(), name
    assert np.abs(trace.output).max() > 2**30 * 2.0**-6 / x.shape[1]
    assert 0 < trace.spikes["n02_spike"].mean() < 1
    for backend in ("torch", "onnxruntime", "raster", *(("lava",) if LAVA else ())):
        other = simulate(program, x, backend)
        np.testing.assert_array_equal(other.spikes["n02_spike"], trace.spikes["n02_spike"], backend)
        np.testing.assert_array_equal(other.output, trace.output, backend)
    if LAVA:
        assert other.attrs["processes"] == "stock"


def test_the_end_of_int32() -> None:
    """-2^31: a GradedVec between two synapses sends 0 in its place; what is read out keeps it."""
    words = np.array([[1, 0], [0, 64]], np.int16)
    program = chain(
        (2,),
        [
            ("a", FixedInput(0, 24)),
            ("b", FixedScale(np.full((1, 2), 64, np.int16), np.array([3], np.int8))),
            ("c", FixedScale(words, np.array([-1, 3], np.int8))),
            ("d", Scale(np.ones(2))),
        ],
    )
    x = np.array([[[-(2.0**22), -(2.0**13)], [1, 1]]])  # b: -2^31 and -2^22; c: 0 for nothing, and -2^31
    expected = [[[0, -(2.0**31)], [256, 2.0**18]]]
    for backend in ("numpy", *(("lava",) if LAVA else ())):
        seen = simulate(program, x, backend)
        np.testing.assert_array_equal(seen.output, expected, backend)
    assert not LAVA or seen.attrs["processes"] == "stock"


def test_s4d_wraps_as_int32_does() -> None:
    """Numpy's own int32, word by word: states and sums far beyond it; a GradedVec sends -2^31 as 0."""
    rng = np.random.default_rng(9)
    op = dataclasses.replace(integers.s4d(rng, 3, 2), b_exp=np.array([6, -3], np.int8))
    x = rng.integers(-(1 << 23), 1 << 23, (30, 3))
    state = {name: np.zeros((1, 2, 3)) for name in ("re", "im")}
    re, im = (np.zeros((2, 3), np.int32) for _ in range(2))

    def word(total: np.ndarray, exponent: int) -> np.ndarray:
        assert total.dtype == np.int32
        return total << exponent if exponent > 0 else total >> -exponent

    def i32(values: np.ndarray) -> np.ndarray:
        return values.astype(np.int32)

    beyond = 0
    for row in x:
        u, wide = i32(row), np.zeros((2, 3))
        parts = [re + np.int32(op.rounding), im + np.int32(op.rounding)]
        for k in range(2):
            a, b, e = i32(op.a_re[k]), i32(op.a_im[k]), int(op.a_exp[k])
            parts[0] = parts[0] + word(a * re - b * im, e) + word(i32(op.b_re[k]) * u, int(op.b_exp[k]))
            parts[1] = parts[1] + word(b * re + a * im, e) + word(i32(op.b_im[k]) * u, int(op.b_exp[k]))
            wide = np.maximum(wide, np.abs(op.b_re[k].astype(float) * row * 2.0 ** op.b_exp[k]))
        re, im = (np.where(part == -(2**31), 0, part).astype(np.int32) for part in parts)
        beyond += np.count_nonzero(wide >= 2**31)
        state, y = op.step(np, state, row[None].astype(float))
        np.testing.assert_array_equal(state["re"][0], re)
        np.testing.assert_array_equal(state["im"][0], im)
        total = np.zeros(3, np.int32)
        for k in range(2):
            read = i32(op.d[k]) * u
            for n in range(2):
                read = read + i32(op.c_re[k, n]) * re[n] + i32(op.c_im[k, n]) * im[n]
            total = total + word(read, int(op.c_exp[k]))
        np.testing.assert_array_equal(y[0], total)
    assert beyond > 100
    np.testing.assert_array_equal(message(np, np.array([-(2.0**31), 1 - 2.0**31, 2.0**31])), [0, 1 - 2.0**31, 0])


def test_a_stock_process_that_raises_says_so() -> None:
    """Lava would keep the exception to itself and wait for ever."""

    def fail() -> None:
        raise RuntimeError("the third step is too much")

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        with pytest.raises(SystemExit):
            stock_run._reporting(theirs)(multiprocessing.Process(target=fail))
        said = str(report.read(ours.recv(report.LONGEST)))
    assert "a stock process" in said
    assert "RuntimeError: the third step is too much" in said


def test_float32_does_not_hold_them() -> None:
    program = integers.network(np.random.default_rng(2))
    with pytest.raises(Refused, match="run it in float64"):
        simulate(program, np.zeros((1, 2, 2)), dtype="float32")


def test_no_bound_is_known_where_rounded_values_become_integers() -> None:
    """A floor of what was rounded can be any integer: verify says that it knows no bound, and excuses nothing."""
    rng = np.random.default_rng(4)
    mixed = networks.affine(rng, 3, 5, 0.3)
    program = chain((3,), [("a", mixed), ("b", FixedInput(4, 16)), ("c", FixedLIF(3584, 20))])
    x = rng.normal(size=(2, 50, 3))
    trace = simulate(program, x)
    verdict = verify(trace, trace, program)
    assert any("layer c: no rounding bound is known" in note for note in verdict.notes)
    exact = chain((3,), [("b", FixedInput(4, 16)), ("c", FixedLIF(3584, 20))])
    trace = simulate(exact, x)
    assert verify(trace, trace, exact).notes == []


def test_what_stock_lava_has_no_process_for() -> None:
    rng = np.random.default_rng(6)
    program = integers.network(rng)
    assert stock.refuses(program) is None
    alone = chain((4,), [("n00_fixed_readout", FixedReadout())])
    assert stock.refuses(alone) == "it doesn't begin with fixed_input"
    reals = chain((4,), [("a", FixedInput(0, 8)), ("b", Scale(np.ones(4))), ("c", FixedReadout())])
    assert stock.refuses(reals) == "layer b (scale) multiplies reals"


def test_what_a_graded_neuron_would_change_is_refused() -> None:
    """It wraps a join's sum, and sends -2^31 as 0: read out or accumulated it would be another number than ours."""
    word = FixedScale(np.ones((1, 4), np.int16), np.array([0], np.int8))
    entry = ("a", FixedInput(0, 8))
    joined = chain((4,), [entry, ("b", word), ("c", Join()), ("d", Scale(np.ones(4)))])
    assert stock.refuses(joined) == "layer c (join) is read out as well as read on, or is no synapse's own sum"
    both = Program(
        (4,),
        (*chain((4,), [entry, ("b", word), ("c", word)]).layers, Layer("d", Scale(np.ones(4)), ("b",))),
        "d",
    )
    assert stock.refuses(both) == "layer b (fixed_scale) is read out as well as read on, or is no synapse's own sum"
    again = chain((4,), [entry, ("b", word), ("c", FixedReadout()), ("d", word), ("e", Scale(np.ones(4)))])
    assert stock.refuses(again) == "layer d (fixed_scale) reads what a Sigma sends"
