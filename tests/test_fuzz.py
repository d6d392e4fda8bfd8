"""Whatever a file holds: exit code 0, 1 or 2, one line that names the file, nothing else for a terminal to obey, and no
half file. Never a traceback, an error of our own (3), a hang, or more memory than a small file can ask for.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from commands import Done, run
from test_importing import SPIKING, saved, spikingssm
from test_netx import write as write_net
from test_strip import trained

from convert.formats.nir.writing import write as write_nir
from deploy.console import COMMANDS
from deploy.fitting import chip
from deploy.pricing import prices
from spikestrip.errors import LONGEST
from spikestrip.operations import LIF, Affine, Flatten
from spikestrip.program import chain
from train import logs
from train.checkpoint import Checkpoint, save
from train.neurons import sdn

SECONDS, MEMORY = 10, 4 << 30  # of one case; the files have some kB. Of the processor: a machine may be busy
WAITING = 120  # seconds of the clock, for what sleeps

RUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "x.npy": (("simulate", "model.nir", "--backend", "numpy", "--input", "x.npy", "-o", "new.h5"),),
    "model.nir": (
        ("to-nir", "model.nir", "-o", "new.nir"),
        ("simulate", "model.nir", "--backend", "numpy", "--input", "x.npy", "-o", "new.h5"),
        ("check", "model.nir"),
        ("fit", "model.nir", "--chip", "loihi2", "--json", "new.json"),
        ("quantize", "model.nir", "--chip", "loihi2", "-o", "new.nir"),
        ("to-onnx", "model.nir", "-o", "new.onnx"),
    ),
    "plain.nir": (
        ("to-nir", "plain.nir", "--reset", "hard", "-o", "new.nir"),
        ("simulate", "plain.nir", "--backend", "numpy", "--input", "x4.npy", "--reset", "hard", "-o", "new.h5"),
        ("check", "plain.nir", "--reset", "hard"),
    ),
    "events.npy": (
        ("simulate", "frames.nir", "--backend", "numpy", "--input", "events.npy", "--event-step", "5", "-o", "new.h5"),
        ("check", "frames.nir", "--input", "events.npy", "--event-step", "5", "--json", "new.json"),
        ("to-onnx", "frames.nir", "--int8", "events.npy", "--event-step", "5", "-o", "new.onnx"),
    ),
    "twin.nir": (
        ("simulate", "twin.nir", "--backend", "numpy", "--input", "x.npy", "-o", "new.h5"),
        ("certify", "model.nir", "--twin", "twin.nir", "--input", "x.npy", "-o", "new.json"),
        ("verify", "reference.h5", "twin.h5", "--program", "model.nir", "--trace-program", "twin.nir"),
        ("fit", "twin.nir", "--chip", "loihi2", "--json", "new.json"),
    ),
    "lava.net": (
        ("to-nir", "lava.net", "-o", "new.nir"),
        ("simulate", "lava.net", "--backend", "numpy", "--input", "x.npy", "-o", "new.h5"),
    ),
    "trace.h5": (
        ("verify", "reference.h5", "trace.h5", "--json", "new.json"),
        ("verify", "trace.h5", "reference.h5", "--program", "model.nir"),
        ("price", "trace.h5", "--json", "new.json"),
        ("fit", "model.nir", "--chip", "loihi2", "--trace", "trace.h5"),
    ),
    "ckpt.pt": (
        ("to-nir", "ckpt.pt", "-o", "new.nir"),
        ("reference", "ckpt.pt", "--input", "x.npy", "-o", "new.h5"),
    ),
    "theirs.pt": (("to-nir", "theirs.pt", "-o", "new.nir"),),
    "official.json": (("to-nir", "theirs.pt", "-o", "new.nir"),),
    "sdn.pt": (("verify", "reference.h5", "trace.h5", "--checkpoint", "ckpt.pt", "--sdn", "sdn.pt"),),
    "sdn.safetensors": (("verify", "reference.h5", "trace.h5", "--checkpoint", "ckpt.pt", "--sdn", "sdn.safetensors"),),
    "ckpt.safetensors": (
        ("to-nir", "ckpt.safetensors", "-o", "new.nir"),
        ("to-onnx", "ckpt.safetensors", "-o", "new.onnx"),
    ),
    "model.onnx": (("to-nir", "model.onnx", "-o", "new.nir"),),
    "chip.toml": (("fit", "model.nir", "--chip", "chip.toml", "--json", "new.json"),),
    "prices.toml": (("price", "trace.h5", "--table", "prices.toml", "--json", "new.json"),),
    "experiment.toml": (("train", "experiment.toml", "--task", "none such", "--out", "new.pt"),),
    "epochs.csv": (("watch", ".", "-o", "new.html"),),
    "curve.csv": (("watch", ".", "-o", "new.html"),),
    "certificate.json": (
        ("certify", "--check", "certificate.json"),
        ("report", ".", "--format", "json", "-o", "new.json"),
    ),
    "metrics.json": (("report", ".", "-o", "new.html"),),
    "road.json": (("report", ".", "-o", "new.html"),),
    "verdict.numpy.json": (("report", ".", "-o", "new.html"),),
    "verdict.parallel.json": (("report", ".", "-o", "new.html"),),
    "verdict.parallel.differences.h5": (("report", ".", "-o", "new.html"),),
    "labels.npy": (("report", ".", "-o", "new.html"),),
    "trace.numpy.h5": (("report", ".", "-o", "new.html"),),
}  # fmt: skip
"""The file that is made wrong -> the commands that read it."""

REFUSED = {("check", "model.nir"), RUNS["experiment.toml"][0]}
"""By design: no importer holds an S4D, and no task bears that name."""

SLOW = ("report", "watch")  # a page of plots takes a second


class Hung(BaseException):
    """The time of a case is over: no command may catch it."""


def go(*arguments: str) -> Done:
    command = import_module(COMMANDS[arguments[0]][0]).command
    return run(command, *arguments[1:])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file of every kind."""
    folder = tmp_path_factory.mktemp("corpus")
    save(folder / "ckpt.pt", Checkpoint(trained(0), {"name": "digits"}, {"accuracy": 0.5}))
    save(folder / "ckpt.safetensors", Checkpoint(trained(0), {"name": "digits"}, {"accuracy": 0.5}))
    x = np.random.default_rng(0).normal(size=(2, 12, 2)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "x4.npy", np.repeat(x, 2, axis=2))
    np.save(folder / "labels.npy", np.array([0, 1]))
    ones = np.ones((2, 3, 4))
    layers = [("n0", LIF(ones * 0, ones)), ("n1", Flatten()), ("n2", Affine(np.ones((3, 24), np.float32)))]
    write_nir(chain((2, 3, 4), layers), folder / "frames.nir")
    events = np.zeros(20, [("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
    events["t"] = range(20)
    for field, number in (("x", 4), ("y", 3), ("p", 2)):
        events[field] = np.arange(20) % number
    np.save(folder / "events.npy", events)
    saved(folder, spikingssm(), SPIKING, wrapped=True)
    for name in ("sdn.pt", "sdn.safetensors"):
        sdn.shipped("hard", 0.125).save(folder / name)
    shutil.copy(Path(__file__).parent / "data/nir-1.0.4/recurrent.nir", folder / "plain.nir")
    cuba = {"type": "CUBA", "iDecay": 1024, "vDecay": 700, "vThMant": 20, "refDelay": 1, "gradedSpike": False}
    dense = {"type": "dense", "shape": [2], "weight": np.ones((2, 2), np.float32), "bias": [1, 2], "neuron": cuba}
    write_net(folder / "lava.net", dense, dense | {"neuron": cuba | {"iDecay": 4096}})
    (folder / "chip.toml").write_text((chip.CHIPS / "loihi2.toml").read_text())
    (folder / "prices.toml").write_text((prices.PRICES / "loihi1.toml").read_text())
    (folder / "experiment.toml").write_text((Path(__file__).parents[1] / "experiments/smnist.toml").read_text())
    metrics = {"task": "digits", "parallel": "scan", "parallel_accuracy": 0.5, "parallel_spiking_rate": 0.1,
               "training": [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "spiking_rate": 0.1}]}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "road.json").write_text('{"runs": {"numpy": {"seconds": 1.0}, "lava": {"refused": "not here"}}}')
    rows = [{"epoch": epoch, "method": "scan", "loss": 0.5, "seconds": 2.0} for epoch in (1, 2, 3)]
    logs.write(folder / "epochs.csv", rows)
    logs.write(folder / "curve.csv", [{"step": 10 * row["epoch"], **row} for row in rows])
    with contextlib.chdir(folder):
        for line in (
            "to-nir ckpt.pt -o model.nir",
            "to-onnx model.nir -o model.onnx",
            "quantize model.nir --chip loihi2 --calibrate x.npy -o twin.nir",
            "reference ckpt.pt --input x.npy -o reference.parallel.h5",
            "reference ckpt.pt --input x.npy --form iterative --dtype float64 -o reference.iterative.h5",
            "simulate model.nir --backend numpy --input x.npy -o trace.numpy.h5",
            "simulate twin.nir --backend numpy --input x.npy -o twin.h5",
            "verify reference.iterative.h5 trace.numpy.h5 --program model.nir --json verdict.numpy.json",
            "verify reference.iterative.h5 reference.parallel.h5 --program model.nir --json verdict.parallel.json",
            "certify model.nir --input x.npy -o certificate.json",
        ):
            done = go(*line.split())
            assert done.code == 0, done.stderr
    shutil.copy(folder / "reference.iterative.h5", folder / "reference.h5")
    shutil.copy(folder / "trace.numpy.h5", folder / "trace.h5")
    sound = folder.with_name("sound")
    shutil.copytree(folder, sound)
    with contextlib.chdir(sound):
        ended = {arguments: go(*arguments) for lines in RUNS.values() for arguments in lines}
    # as they are, they are sound: what was always refused would try nothing
    unsound = {key: done for key, done in ended.items() if done.code == 2 and key not in REFUSED}
    assert unsound == {}
    return folder


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Of this process: seconds, and address space beyond what it has."""

    def over(*_: object) -> None:
        raise Hung

    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, over), resource.getrlimit(resource.RLIMIT_AS)
    profiled = signal.signal(signal.SIGPROF, over)
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, before[1][1]))
    signal.alarm(WAITING)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, profiled)
        resource.setrlimit(resource.RLIMIT_AS, before[1])
        signal.signal(signal.SIGALRM, before[0])


def faults(folder: Path, name: str, arguments: tuple[str, ...]) -> list[str]:
    """What is wrong with how a command ended on a folder in which the file ``name`` was made wrong."""
    held = set(folder.iterdir())
    try:
        with contextlib.chdir(folder), bounded(), warnings.catch_warnings():
            warnings.simplefilter("default")
            done = go(*arguments)
    except Hung:
        return [f"{SECONDS} s were not enough"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    new = sorted(path.name for path in set(folder.iterdir()) - held)
    wrong = []
    if done.code not in (0, 1, 2):
        wrong.append(f"exit code {done.code}")
    table = arguments[0] == "check" and done.code == 2 and done.stdout  # who can't run it, and why
    if done.code == 2 and not table and (len(lines) != 1 or not done.stderr.endswith(lines[0] + "\n")):
        wrong.append("not one line")
    said = [Path(part).stem for part in (name, *arguments) if Path(part).suffix or part == "none such"]
    if done.code == 2 and lines and not any(part in lines[-1] for part in said):
        wrong.append("the file isn't named")
    if "Traceback" in done.stderr:
        wrong.append("a traceback")
    shown = done.stdout + done.stderr.replace("\r", "")
    if any(not one.isprintable() and one != "\n" for one in shown):
        wrong.append("control characters")
    if any(len(line) > LONGEST + 100 for line in done.stderr.replace("\r", "\n").splitlines()):
        wrong.append("a long line")
    if [one for one in new if one.startswith(".")] or (done.code == 2 and new):
        wrong.append(f"left behind: {', '.join(new)}")
    return [f"{one}; {done.stderr[-600:]}" for one in wrong]


def tried(corpus: Path, folder: Path, name: str, seeds: range) -> list[str]:
    """The faults of every command that reads ``name``, made wrong in as many ways as there are seeds."""
    found = []
    for seed in seeds:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(corpus, folder)
        fuzzing.mutate(folder / name, seed)
        arguments = RUNS[name][seed % len(RUNS[name])]
        found += [f"{name}, seed {seed}, {' '.join(arguments)}: {one}" for one in faults(folder, name, arguments)]
    return found


@pytest.mark.parametrize("name", RUNS)
def test_some(corpus: Path, tmp_path: Path, name: str) -> None:
    number = 6 if RUNS[name][0][0] in SLOW else 52
    assert tried(corpus, tmp_path / "case", name, range(number)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_many(corpus: Path, tmp_path: Path, name: str) -> None:
    number = 100 if RUNS[name][0][0] in SLOW else 1000
    assert tried(corpus, tmp_path / "case", name, range(1000, 1000 + number)) == []


FOUND = (("model.nir", 1310), ("plain.nir", 1446), ("ckpt.pt", 1165), ("ckpt.safetensors", 1910), ("chip.toml", 1079))
"""What a long run found, once: an importer's reading of another shape, a shape of NaN, sizes of 2^63, limits of 0."""


@pytest.mark.parametrize(("name", "seed"), FOUND)
def test_found(corpus: Path, tmp_path: Path, name: str, seed: int) -> None:
    assert tried(corpus, tmp_path / "case", name, range(seed, seed + 1)) == []
