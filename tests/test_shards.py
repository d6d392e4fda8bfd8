"""Samples spread over processes by Dask: the single process's results to the bit, and nothing left behind, ever."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import Done, run
from dying import Dying
from programs import gaussian, network
from test_lava_supervision import MARK, marked
from test_strip import trained

import simulators.run
from convert.strip import strip
from deploy import certify, score, verify
from simulators import shards
from simulators.run import command as simulate
from simulators.run import simulate_parts
from simulators.shards import Over, spread
from spikestrip import trace
from spikestrip.errors import BadInput, Refused, SimulatorFault
from spikestrip.operations import LIF, Affine, Bernoulli, Scale
from spikestrip.program import Program, at_sample, chain
from train.checkpoint import Checkpoint, save
from train.tasks import Split

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = 29


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Three workers of this machine, as they would be started by hand."""
    with shards._local_cluster(3) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def over(scheduler: str) -> Iterator[Over]:
    with spread(3, scheduler) as over:
        assert over is not None
        yield over


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three samples of ``runs`` at a time: ten parts, the last of two."""
    monkeypatch.setattr(simulators.run, "_sample_bytes", lambda program, steps: 1)
    monkeypatch.setattr(simulators.run, "_PART_BYTES", 3)


def drawing() -> tuple[Program, np.ndarray]:
    program = strip(trained(3, model="pspikessm", reset="none", seed=8))
    return program, gaussian(np.random.default_rng(1), program, SAMPLES, 20)


def deciding() -> tuple[Program, np.ndarray]:
    rng = np.random.default_rng(2)
    program = network(rng, inputs=3, hidden=8, modes=3, blocks=2, neuron="hard", mix="glu", norm="layer", classes=3,
                      readout="mean")  # fmt: skip
    return program, gaussian(rng, program, SAMPLES, 20)


def content(path: Path) -> dict[str, Any]:
    """Everything that an HDF5 file holds; but the seconds that a run took."""
    found: dict[str, Any] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        values = (item.shape, item.dtype.str, item[()].tobytes()) if isinstance(item, h5py.Dataset) else ()
        attrs = {key: np.asarray(value).tolist() for key, value in item.attrs.items() if key != "seconds"}
        found[name] = (values, attrs)

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
    return found


def written(
    path: Path, program: Program, x: np.ndarray, backend: Any, over: Over | None, dtype: Any = "float64"
) -> dict[str, Any]:
    trace.write_parts(path, simulate_parts(program, x, backend, dtype, over=over), len(x))
    return content(path)


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        (drawing, "numpy"),
        (deciding, "numpy"),
        *(pytest.param(drawing, name, marks=pytest.mark.slow) for name in ("raster", "torch", "onnxruntime", "lava")),
    ],
)
def test_a_trace_is_that_of_one_process(case: Any, backend: str, over: Over, tmp_path: Path) -> None:
    program, x = case()
    one = written(tmp_path / "one.h5", program, x, backend, None)
    assert written(tmp_path / "many.h5", program, x, backend, over) == one
    assert one["layers"][1]["order"]


@pytest.mark.parametrize("case", [drawing, pytest.param(deciding, marks=pytest.mark.slow)])
def test_a_killed_worker_changes_nothing(case: Any, over: Over, tmp_path: Path) -> None:
    program, x = case()
    one = written(tmp_path / "one.h5", program, x, "numpy", None)
    dying = Dying(float(x[12, 0, 0]), tmp_path / "killed")
    assert written(tmp_path / "many.h5", program, x, dying, over) == one
    assert (tmp_path / "killed").exists()


@pytest.mark.slow
def test_samples_that_kill_every_worker(tmp_path: Path) -> None:
    program, x = deciding()
    with (
        spread(2, None) as over,
        pytest.raises(SimulatorFault, match="6 workers died on the same samples"),
    ):
        written(tmp_path / "many.h5", program, x, Dying(float(x[12, 0, 0]), None), over)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_worker_is_the_single_process_s(over: Over, tmp_path: Path) -> None:
    program = chain((1,), [("n0", Scale(np.float32([3e38]))), ("n1", LIF(np.full(1, 0.9), np.ones(1)))])
    x = np.ones((SAMPLES, 5, 1), np.float32)
    x[14] = 3e38
    said = []
    for how in (None, over):
        with pytest.raises(BadInput) as raised:
            written(tmp_path / "trace.h5", program, x, "numpy", how, "float32")
        said.append((type(raised.value), str(raised.value)))
    assert said[0] == said[1]
    assert list(tmp_path.iterdir()) == []


@dataclasses.dataclass(eq=False)
class Forgetful(Bernoulli):
    """Draws for every part as for the first."""

    def at_sample(self, first: int) -> Forgetful:
        return self


def test_draws_that_forget_their_sample_are_refused() -> None:
    program = chain((2,), [("n0", Forgetful(np.ones(2, np.float32), np.zeros(2, np.float32), 1, 0))])
    assert at_sample(program, 0) is program
    with pytest.raises(Refused, match=r"layer n0 .*can't begin at sample 3"):
        at_sample(program, 3)


def test_a_worker_that_could_round_otherwise_is_refused(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_machine", lambda: {**shards.versions(), "numpy": "1.0"})
    with pytest.raises(Refused, match=r"numpy [0-9.]+ there, 1\.0 here"):
        list(over(abs, [-1, -2, -3]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ckpt.pt, x.npy; traces of two arithmetics, and one that is wrong in samples of two parts."""
    made = tmp_path_factory.mktemp("shards")
    checkpoint = Checkpoint(trained(0), {"name": "digits"}, {"accuracy": 0.5})
    save(made / "ckpt.pt", checkpoint)
    program = strip(checkpoint.network)
    x = gaussian(np.random.default_rng(0), program, SAMPLES, 20)
    np.save(made / "x.npy", x)
    for name, dtype in (("double", "float64"), ("single", "float32")):
        trace.write(made / f"{name}.h5", simulators.run.simulate(program, x, "numpy", dtype))  # type: ignore[arg-type]
    wrong = simulators.run.simulate(program, x)
    for sample in (1, 20):
        train = next(iter(wrong.spikes.values()))
        train[sample, 5] = 1 - train[sample, 5]
    trace.write(made / "wrong.h5", wrong)
    return made


def both(command: Any, scheduler: str, *arguments: object) -> tuple[Done, Done]:
    alone = run(command, *(str(one).replace("OUT", "one") for one in arguments))
    spread_out = ("--shards", 3, "--scheduler", scheduler)
    return alone, run(command, *(str(one).replace("OUT", "many") for one in arguments), *spread_out)


@pytest.mark.parametrize(("name", "code"), [("single", 0), ("wrong", 1)])
def test_verify(name: str, code: int, folder: Path, scheduler: str, tmp_path: Path) -> None:
    one, many = both(verify.command, scheduler, folder / "double.h5", folder / f"{name}.h5",
                     "--program", folder / "ckpt.pt", "--json", tmp_path / "OUT.json")  # fmt: skip
    assert (one.code, one.stdout) == (many.code, many.stdout) == (code, one.stdout)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "many.json").read_bytes()
    assert content(tmp_path / "one.differences.h5") == content(tmp_path / "many.differences.h5")


def test_certify(folder: Path, scheduler: str, tmp_path: Path) -> None:
    one, many = both(certify.command, scheduler, folder / "ckpt.pt", "--input", folder / "x.npy",
                     "--trace", folder / "single.h5", "-o", tmp_path / "OUT.json")  # fmt: skip
    assert (one.code, many.code) == (0, 0)
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "many"))
    for certificate in (first, second):  # they name files apart
        del certificate["seal"]
    assert first == second


def test_a_certificate_s_list(over: Over) -> None:
    """Ten times a tenth is the threshold, or nearly."""
    tenth = Affine(np.full((2, 3), 0.1, np.float32))
    program = chain((3,), [("n0", tenth), ("n1", LIF(np.full(2, 0.5), np.ones(2)))])
    x = np.random.default_rng(0).integers(0, 8, (SAMPLES, 30, 3)).astype(np.float32)
    one, many = certify.certify(program, x), certify.certify(program, x, over=over)
    assert one.listed("float32") > 20
    assert one.to_dict() == many.to_dict()
    for name, layers in one.found.items():
        for layer, margins in layers.items():
            np.testing.assert_array_equal(margins.keys, many.found[name][layer].keys)
            np.testing.assert_array_equal(margins.bounds, many.found[name][layer].bounds)


def test_score(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "BATCH", 5)
    checkpoint = Checkpoint(trained(0), {"name": "digits"}, {"accuracy": 0.5})
    rng = np.random.default_rng(0)
    split = Split(rng.normal(size=(SAMPLES, 20, 2)).astype(np.float32), rng.integers(0, 3, SAMPLES))
    with spread(3, scheduler) as over:
        assert score.score_stripped(checkpoint, split, over) == score.score_stripped(checkpoint, split)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler: needs --shards N"),
        (("--shards", "2", "--scheduler", "tcp://127.0.0.1:1"), "--scheduler tcp://127.0.0.1:1: no scheduler answers"),
    ],
)
def test_what_cant_be_reached(
    options: tuple[str, ...], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "PATIENCE", 1.0)
    done = simulated(folder, tmp_path, *options)
    assert done.code == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_dask(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = simulated(folder, tmp_path, "--shards", "2")
    assert done.code == 2
    assert "pip install 'spikestrip[shards]'" in done.stderr


def simulated(folder: Path, tmp_path: Path, *options: str) -> Done:
    arguments = (folder / "ckpt.pt", "--backend", "numpy", "--input", folder / "x.npy", "-o", tmp_path / "new.h5")
    return run(simulate, *arguments, *options)


SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import simulators.run as running
running._PART_BYTES, running._sample_bytes = 3, lambda program, steps: 1
append = running.trace.Writer.append
def slow(writer, part):
    append(writer, part)
    print("wrote", flush=True)
    time.sleep(60)
running.trace.Writer.append = slow
running.main(running.command)
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_ended_in_the_middle(number: signal.Signals, code: int, folder: Path, tmp_path: Path) -> None:
    """SIGINT goes to every process, as in a terminal."""
    mark = f"{os.getpid()}-shards-{number}"
    command = [sys.executable, "-c", SLOWLY, folder / "ckpt.pt", "--backend", "numpy", "--input", folder / "x.npy",
               "-o", tmp_path / "new.h5", "--shards", "3"]  # fmt: skip
    environment = {**os.environ, MARK: mark, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"wrote\n"
        assert len(marked(mark)) >= 4
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    until = time.monotonic() + 30
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert not marked(mark)
    assert b"Traceback" not in said
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []
        assert said.decode().splitlines()[-1].count("error: ") <= 1
