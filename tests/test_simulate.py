"""``simulate``: the function and the command, and what they refuse."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from programs import dyadic, gaussian, grid, network

from convert.formats.nir.writing import write
from simulators import backends, run
from simulators.backends import Dtype, Progress, Recording
from simulators.backends.numpy import NumpyBackend
from simulators.run import command, simulate
from spikestrip import trace
from spikestrip.command import main
from spikestrip.errors import BadInput, Refused, SimulatorFault
from spikestrip.inputs import expand
from spikestrip.operations import LIF, Affine, LeakyIntegrator, RefractoryLIF
from spikestrip.program import Layer, Program, chain

SCRIPT = Path(run.__file__)


@pytest.fixture
def program() -> Program:
    return network(np.random.default_rng(0), inputs=3, hidden=5, modes=2, blocks=1, classes=4)


@pytest.fixture
def model(tmp_path: Path, program: Program) -> Path:
    write(program, tmp_path / "model.nir")
    return tmp_path / "model.nir"


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str]:
    """Exit code and what went to stderr."""
    monkeypatch.setattr(sys, "argv", ["simulate", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main(command)
    code = ended.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return lambda *words: call(capsys, monkeypatch, *words)


def test_the_command_writes_the_trace_that_the_function_makes(
    tmp_path: Path, model: Path, program: Program, cli: Call
) -> None:
    x = gaussian(np.random.default_rng(1), program, 3, 17)
    np.save(tmp_path / "x.npy", x)
    code, _ = cli(model, "--backend", "numpy", "--input", tmp_path / "x.npy", "-o", tmp_path / "t.h5")
    assert code == 0
    written = trace.read(tmp_path / "t.h5")
    expected = simulate(program, x, NumpyBackend())
    assert written.attrs["program_sha256"] == program.sha256
    assert written.attrs["backend"] == "numpy"
    assert written.attrs["dtype"] == "float64"
    assert written.attrs["form"] == "iterative"
    np.testing.assert_array_equal(written.input, x)
    np.testing.assert_array_equal(written.output, expected.output)
    assert written.output.shape == (3, 4)
    for name, train in expected.spikes.items():
        np.testing.assert_array_equal(written.spikes[name], train)
        assert written.events[name]["spikes"].sum() == train.sum() > 0


def test_mean_readout_is_the_last_value_over_the_steps() -> None:
    summed = chain((2,), [("spike", LIF(np.zeros(2), np.ones(2))), ("readout", LeakyIntegrator(np.ones(2)))], "mean")
    x = np.array([[[1, 0], [1, 1], [1, 0], [0, 0]]], np.float32)
    result = simulate(summed, x, NumpyBackend())
    np.testing.assert_array_equal(result.output, [[3 / 4, 1 / 4]])


def test_token_ids_are_one_hot_and_stay_ids_in_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    program = network(rng, inputs=7, hidden=4, blocks=1)
    ids = rng.integers(0, 7, (5, 11, 1))
    result = simulate(program, ids, NumpyBackend())
    np.testing.assert_array_equal(result.input, ids)
    hot = np.zeros((5, 11, 7), np.float32)
    for sample in range(5):
        for step in range(11):
            hot[sample, step, ids[sample, step, 0]] = 1
    direct = simulate(program, hot, NumpyBackend())
    monkeypatch.setattr(run, "_PART_BYTES", 11 * 7 * 8 * 2)  # two samples at a time
    parts = []
    chunked = simulate(program, ids, NumpyBackend(), progress=parts.append)
    assert sum(parts) == 5 * 11
    for name, train in direct.spikes.items():
        np.testing.assert_array_equal(result.spikes[name], train)
        np.testing.assert_array_equal(chunked.spikes[name], train)
        np.testing.assert_array_equal(chunked.events[name]["spikes"], train.sum(axis=2))
    np.testing.assert_allclose(chunked.output, direct.output, rtol=1e-12)


def test_one_channel_of_integers_is_values_not_tokens() -> None:
    program = chain((1,), [("spike", LIF(np.zeros(1), np.full(1, 3.0)))])
    result = simulate(program, np.array([[[2], [3], [200]]], np.uint8), NumpyBackend())
    assert result.spikes["spike"].ravel().tolist() == [0, 1, 1]
    assert result.input.dtype == np.float32


def test_frames_may_come_flat() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    program = chain((4, 3), [("mix", Affine(weight)), ("spike", LIF(np.zeros((4, 2)), np.full((4, 2), 5.0)))])
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    whole, flat = simulate(program, x, NumpyBackend()), simulate(program, x.reshape(2, 5, 12), NumpyBackend())
    np.testing.assert_array_equal(whole.spikes["spike"], flat.spikes["spike"])
    np.testing.assert_array_equal(expand(flat.input, (4, 3)), x)


def test_float64_input_keeps_its_last_bit() -> None:
    program = chain((1,), [("spike", LIF(np.zeros(1), np.ones(1)))])
    x = np.array([np.nextafter(1.0, 0.0), 1.0]).reshape(1, 2, 1)
    assert simulate(program, x, NumpyBackend()).spikes["spike"].ravel().tolist() == [0, 1]
    assert simulate(program, x, NumpyBackend(), "float32").spikes["spike"].ravel().tolist() == [1, 1]


X = np.zeros((2, 5, 3), np.float32)
BAD_INPUTS: dict[str, tuple[np.ndarray, str]] = {
    "another number of channels": (np.zeros((2, 5, 4), np.float32), "(B, T, 3)"),
    "no batch": (np.zeros((5, 3), np.float32), "(B, T, 3)"),
    "too many axes": (np.zeros((2, 5, 3, 1), np.float32), "(B, T, 3)"),
    "no samples": (np.zeros((0, 5, 3), np.float32), "empty"),
    "no steps": (np.zeros((2, 0, 3), np.float32), "empty"),
    "NaN": (np.where(np.arange(30).reshape(2, 5, 3) == 7, np.nan, X).astype(np.float32), "NaN"),
    "infinity": (np.full((2, 5, 3), np.inf, np.float32), "infinity"),
    "complex numbers": (X.astype(np.complex64), "complex64"),
    "text": (np.full((2, 5, 3), "a"), "<U1"),
    "dates": (np.zeros((2, 5, 3), "M8[s]"), "datetime64"),
    "records": (np.zeros((2, 5, 3), [("a", "f4")]), "events x, y, p, t"),
    "an id below 0": (np.array([[[0], [-1]]]), "from -1 to 0"),
    "an id that is not known": (np.array([[[0], [3]]]), "0 to 2"),
    "integers that float32 rounds": (np.full((2, 5, 3), (1 << 24) + 1), "float32 rounds"),
}


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, model: Path, cli: Call, what: str) -> None:
    x, says = BAD_INPUTS[what]
    path = tmp_path / "x.npy"
    np.save(path, x)
    code, error = cli(model, "--backend", "numpy", "--input", path, "-o", tmp_path / "t.h5")
    assert code == 2
    assert error.startswith(f"error: {path}: ")
    assert says in error
    assert error.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.nir", "x.npy"]


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def truncated(path: Path) -> None:
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-4])


def boastful(path: Path) -> None:
    """A header that promises 4 TB."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20, 1)}
        )
        file.write(bytes(100))


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("1 2 3"),
    "a pickle": pickled,
    "truncated": truncated,
    "promises more than it holds": boastful,
    "an archive": lambda path: path.write_bytes(_archive(path)),
}


def _archive(path: Path) -> bytes:
    other = path.with_suffix(".npz")
    np.savez(other, x=X)
    data = other.read_bytes()
    other.unlink()
    return data


@pytest.mark.parametrize("what", BAD_FILES)
def test_files_that_hold_no_array_are_refused(tmp_path: Path, model: Path, cli: Call, what: str) -> None:
    path = tmp_path / "x.npy"
    BAD_FILES[what](path)
    code, error = cli(model, "--backend", "numpy", "--input", path, "-o", tmp_path / "t.h5")
    assert code == 2
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "t.h5").exists()


def test_fortran_order_and_big_endian_are_read(tmp_path: Path, model: Path, program: Program, cli: Call) -> None:
    x = gaussian(np.random.default_rng(1), program, 2, 9)
    for number, version in enumerate((x, np.asfortranarray(x), x.astype(">f4"))):
        np.save(tmp_path / "x.npy", version)
        out = tmp_path / f"{number}.h5"
        assert cli(model, "--backend", "numpy", "--input", tmp_path / "x.npy", "-o", out)[0] == 0
    hashes = {str(trace.read(tmp_path / f"{number}.h5").attrs["input_sha256"]) for number in range(3)}
    assert len(hashes) == 1


def test_a_rule_that_does_not_apply_is_said_and_kept(tmp_path: Path, model: Path, cli: Call) -> None:
    np.save(tmp_path / "x.npy", X)
    words = (model, "--backend", "numpy", "--input", tmp_path / "x.npy", "-o", tmp_path / "t.h5", "--reset", "soft")
    code, error = cli(*words)
    assert code == 0
    assert "do not apply" in error
    assert "do not apply" in str(trace.read(tmp_path / "t.h5").attrs["remarks"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--backend", "abacus"), "abacus"),
        (("--backend", "numpy", "--device", "cuda"), "no device 'cuda'"),
        (("--backend", "numpy", "--dtype", "float16"), "float16"),
        (("--backend", "numpy", "--dt", "-1"), "--dt"),
        (("--backend", "numpy", "--integrate", "guess"), "--integrate"),
        (("--backend", "numpy", "-o", "no/such/folder/t.h5"), "no/such/folder"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, model: Path, cli: Call, words: tuple[str, ...], says: str) -> None:
    np.save(tmp_path / "x.npy", X)
    code, error = cli(model, "--input", tmp_path / "x.npy", "-o", tmp_path / "t.h5", *words)
    assert code == 2
    assert says in error.splitlines()[-1]
    assert not (tmp_path / "t.h5").exists()


def test_a_file_that_is_no_nir_graph_is_refused(tmp_path: Path, cli: Call) -> None:
    np.save(tmp_path / "x.npy", X)
    code, error = cli(tmp_path / "x.npy", "--backend", "numpy", "--input", tmp_path / "x.npy", "-o", tmp_path / "t.h5")
    assert code == 2
    assert error.startswith(f"error: {tmp_path / 'x.npy'}: ")


def test_a_refusal_names_backend_layer_and_reason() -> None:
    program = chain((1,), [("tired", RefractoryLIF(*np.full((4, 1), 0.5)))])
    try:
        sinabs = backends.load("sinabs")
    except BadInput as error:
        pytest.skip(str(error))
    with pytest.raises(Refused, match=r"sinabs, layer tired \(lif_refractory\): .*no refractory neuron"):
        simulate(program, np.zeros((1, 2, 1), np.float32), sinabs)


class Small(NumpyBackend):
    """A chip that can hold every layer, but not many of them."""

    name = "small"

    def refuses_program(self, program: Program, dtype: Dtype) -> str | None:
        return None if len(program.layers) <= 2 else f"{len(program.layers)} layers on 2 cores"


def test_a_backend_can_refuse_the_whole() -> None:
    neuron = LIF(np.full(2, 0.5), np.ones(2))
    layers = [(f"n{number:02d}", neuron) for number in range(3)]
    x = np.ones((1, 4, 2), np.float32)
    assert simulate(chain((2,), layers[:2]), x, Small()).spikes
    with pytest.raises(Refused, match=r"backend small: can't hold the program: 3 layers on 2 cores"):
        simulate(chain((2,), layers), x, Small())


class Dishonest(NumpyBackend):
    name = "dishonest"

    def __init__(self, spoil: Callable[[Recording], object]) -> None:
        self.spoil = spoil

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        recording = super().run(program, x, dtype, device, progress)
        self.spoil(recording)
        return recording


def observe(extra: int) -> Callable[[Recording], object]:
    def spoil(recording: Recording) -> None:
        for name, train in recording.spikes.items():
            counted = train.sum(axis=2)
            counted[1, 2] += extra
            recording.observed[name] = {"spikes": counted}

    return spoil


def test_what_the_simulator_saw_must_be_what_the_ledger_counts() -> None:
    program = dyadic(np.random.default_rng(0))
    x = grid(np.random.default_rng(0), program, 3)
    seen = simulate(program, x, Dishonest(observe(0)))
    for name in seen.spikes:
        np.testing.assert_array_equal(seen.observed[name]["spikes"], seen.events[name]["spikes"])
    with pytest.raises(SimulatorFault, match=r"dishonest, layer n02_block0_spike: spikes.*sample 1, step 2"):
        simulate(program, x, Dishonest(observe(1)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda recording: recording.spikes.clear(),
        lambda recording: recording.spikes.update(n02_block0_spike=np.zeros((1, 1, 1), np.uint8)),
        lambda recording: [train.fill(2) for train in recording.spikes.values()],
        lambda recording: setattr(recording, "output", recording.output[:, :-1]),
    ],
)
def test_a_recording_of_another_form_is_a_fault(spoil: Callable[[Recording], object]) -> None:
    program = dyadic(np.random.default_rng(0))
    with pytest.raises(SimulatorFault, match="backend dishonest"):
        simulate(program, grid(np.random.default_rng(0), program, 2), Dishonest(spoil))


def test_an_overflow_is_no_answer() -> None:
    exploding = chain((1,), [("li", LeakyIntegrator(np.full(1, 1e200)))])
    with pytest.raises(BadInput, match=r"li: .*overflowed"):
        simulate(exploding, np.ones((1, 4, 1), np.float32), NumpyBackend())
    large = chain((1,), [("mix", Affine(np.full((1, 1), 3e38, np.float32)))])
    with pytest.raises(BadInput, match="overflowed"):
        simulate(large, np.full((1, 1, 1), 3e38, np.float32), NumpyBackend(), "float32")


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "sinabs"])
def test_backends_agree_in_spikes_and_events(name: str) -> None:
    try:
        backend = backends.load(name)
    except BadInput as error:
        pytest.skip(str(error))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        neuron = ("hard", "soft")[seed % 2]
        program = network(rng, neuron=neuron, hidden=int(rng.integers(1, 20)), norm=(None, "layer")[seed % 3 == 0])
        x = gaussian(rng, program, (1, 7)[seed % 2], 31)
        one, two = simulate(program, x, NumpyBackend()), simulate(program, x, backend)
        for layer in one.events:
            for counter, values in one.events[layer].items():
                np.testing.assert_array_equal(two.events[layer][counter], values)
        for layer, train in one.spikes.items():
            np.testing.assert_array_equal(two.spikes[layer], train)


def test_the_script_runs_from_any_folder_and_without_torch(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    blocked = (
        "import sys, runpy; sys.modules.update(dict.fromkeys(['torch', 'onnxruntime', 'numba', 'samna']));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [SCRIPT, "model.nir", "--backend", "numpy", "--input", "x.npy", "-o", "t.h5"]
    done = subprocess.run(
        [sys.executable, "-c", blocked, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert trace.read(tmp_path / "t.h5").attrs["backend"] == "numpy"


def test_delayed_layers_are_recorded_like_any() -> None:
    loop = Program((1,), (Layer("spike", LIF(np.zeros(1), np.ones(1)), ("input",), ("spike",)),), "spike")
    x = np.array([1, 0, 0, -1, 0], np.float32).reshape(1, 5, 1)
    assert simulate(loop, x, NumpyBackend()).spikes["spike"].ravel().tolist() == [1, 1, 1, 0, 0]
    quiet = dataclasses.replace(loop, layers=(dataclasses.replace(loop.layers[0], delayed=()),))
    assert simulate(quiet, x, NumpyBackend()).spikes["spike"].ravel().tolist() == [1, 0, 0, 0, 0]
