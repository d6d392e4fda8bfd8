"""Whatever a file holds: exit code 0, 1 or 2, one line that names the file, nothing else for a terminal to obey, and no
half file. Never a traceback, an error of our own (3), a hang, or more memory than a small file can ask for.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import resource
import shutil
import signal
import struct
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import fuzzing
import numpy as np
import pytest
import tomli_w
import torch
from commands import Done, run
from PIL import Image
from scipy.io import wavfile
from test_importing import SPIKING, saved, spikingssm
from test_netx import write as write_net
from test_sharded import split, stamp
from test_speck import events as speck_events
from test_speck import network as speck_network
from test_strip import trained
from test_task_copies import packet, trial

from convert.formats.nir.writing import write as write_nir
from convert.load import load
from deploy.console import COMMANDS
from deploy.fitting import chip
from deploy.pricing import prices
from deploy.shrinking.case import Case
from deploy.shrinking.judges import CommandJudge
from deploy.shrinking.making import JOURNAL
from deploy.shrinking.search import Journal, shrink
from spikestrip.errors import LONGEST
from spikestrip.operations import LIF, Affine, Flatten
from spikestrip.program import chain
from train.checkpoint import Checkpoint, save
from train.neurons import sdn
from train.tasks import speech_commands

SECURITY = Path(__file__).parents[1] / "docs" / "security.md"
SECONDS, MEMORY = 10, 4 << 30  # of one case; the files have some kB. Of the processor: a machine may be busy
WAITING = 120  # seconds of the clock, for what sleeps

RESUMED = ("train", "run.toml", "--data-dir", "text", "--run-dir", "run")
SHARDED = (*RESUMED[:-1], "shards")


def untrained(task: str, folder: str) -> tuple[str, ...]:
    """What reads a data set and tests a small network on it."""
    sizes = ("--d-model", "2", "--d-state", "2", "--layers", "1", "--epochs", "0")
    return ("train", "--task", task, "--data-dir", folder, *sizes, "--out", "new.pt")


RUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "x.npy": (
        ("simulate", "model.nir", "--backend", "numpy", "--input", "x.npy", "-o", "new.h5"),
        ("reference", "ckpt.pt", "--input", "x.npy", "-o", "new.h5"),
        ("certify", "--check", "certificate.json"),
        ("quantize", "model.nir", "--chip", "loihi2", "--calibrate", "x.npy", "-o", "new.nir"),
    ),
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
    "speck.nir": (
        ("orders", "speck.nir", "--input", "spikes.npy"),
        ("fit", "speck.nir", "--chip", "speck2e", "--json", "new.json"),
        ("simulate", "speck.nir", "--backend", "numpy", "--input", "spikes.npy", "-o", "new.h5"),
    ),
    "spikes.npy": (("orders", "speck.nir", "--input", "spikes.npy"),),
    "speck.toml": (("fit", "speck.nir", "--chip", "speck.toml", "--json", "new.json"),),
    "shrunk/journal.jsonl": (
        ("shrink", "small.nir", "--input", "x.npy", "--check", "false {model} {input}", "-o", "shrunk"),
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
    "scaled.pt": (
        ("quantize", "scaled.pt", "--chip", "loihi2", "--calibrate", "counts.npy", "-o", "new.nir"),
        ("score", "scaled.pt", "--data-dir", "gestures", "--json", "new.json"),
        (
            *("train", "--task", "dvs_gesture", "--data-dir", "gestures", "--start", "scaled.pt"),
            *("--quantize", "loihi2", "--epochs", "1", "--out", "new.pt"),
        ),
        ("road", "scaled.pt", "--samples", "1", "--data-dir", "gestures", "--backends", "numpy", "--out", "new"),
    ),
    "theirs.pt": (("to-nir", "theirs.pt", "-o", "new.nir"),),
    "theirs.ckpt": (("to-nir", "theirs.ckpt", "-o", "new.nir"),),
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
    "run.toml": (
        (
            *("train", "run.toml", "--task", "wikitext103", "--data-dir", "text", "--length", "8"),
            *("--epochs", "1", "--out", "new.pt"),
        ),
    ),
    "run/experiment.toml": (("watch", "run", "-o", "new.html"), RESUMED),
    "run/last.pt": (RESUMED,),
    "shards/last.pt": (SHARDED,),
    "shards/last.1.0.safetensors": (SHARDED,),
    "run/epochs.csv": (("watch", "run", "-o", "new.html"),),
    "run/curve.csv": (("watch", "run", "-o", "new.html"),),
    "text/wiki.test.tokens": (("train", "run.toml", "--data-dir", "text", "--out", "new.pt"),),
    "mnist/t10k-images-idx3-ubyte.gz": (untrained("smnist", "mnist"),),
    "mnist/t10k-labels-idx1-ubyte": (untrained("smnist", "mnist"),),
    "gestures/trials_to_train.txt": (untrained("dvs_gesture", "gestures"),),
    "gestures/one.aedat": (untrained("dvs_gesture", "gestures"),),
    "gestures/one_labels.csv": (untrained("dvs_gesture", "gestures"),),
    "words/testing_list.txt": (untrained("speech_commands", "words"),),
    "words/yes/2.wav": (untrained("speech_commands", "words"),),
    "paths/curv_contour_length_14/metadata/1.npy": (untrained("pathfinder", "paths"),),
    "paths/curv_contour_length_14/imgs/1.png": (untrained("pathfinder", "paths"),),
    "twin.json": (("certify", "--check", "twin.json"),),
    "edge.json": (("certify", "--check", "edge.json"),),
    "edge.listed.h5": (("certify", "--check", "edge.json"),),
    "road/road.json": (("watch", "road", "-o", "new.html"), ("report", ".", "road", "-o", "new.html")),
    "road/verdict.numpy.json": (("watch", "road", "-o", "new.html"),),
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

SLOW = ("report",)  # a page of plots takes a second
SOME = {"slow": 6, "fast": 24}
MANY = {"slow": 100, "fast": 500}
"""Cases of a file, by whether what reads it is slow."""
CACHE = "cache"  # of data sets, in the folder of a case: what is whole in it may stay
SMALL = {
    "task": "wikitext103", "length": 8, "d_model": 4, "d_state": 2, "layers": 1, "epochs": 1, "batch": 4,
}  # fmt: skip
"""A training of some milliseconds."""


class Hung(BaseException):
    """The time of a case is over: no command may catch it."""


def go(*arguments: str) -> Done:
    command = import_module(COMMANDS[arguments[0]][0]).command
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKESTRIP_DATA", CACHE)
        return run(command, *arguments[1:])


def copies_of_data(folder: Path) -> None:
    """Data sets as users bring them, a few samples of each."""
    (folder / "text").mkdir()
    for part in ("train", "valid", "test"):
        (folder / "text" / f"wiki.{part}.tokens").write_text(" = Title = \n née <unk> \n" * 3, encoding="utf-8")
    mnist = folder / "mnist"
    mnist.mkdir()
    for part in ("train", "t10k"):
        images = struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 28, 28) + bytes(2 * 784)
        (mnist / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI2B", 0, 0, 8, 1, 2, 3, 9))
    (mnist / "train-images-idx3-ubyte").write_bytes(images)
    gestures = folder / "gestures"
    gestures.mkdir()
    for part, name in (("train", "one"), ("test", "two")):
        trial(gestures, name, [packet([(5, 1, 1, 1, 1), (7, 64, 64, 0, 1)])], [(1, 0, 100), (11, 5, 9)])
        (gestures / f"trials_to_{part}.txt").write_text(f"{name}.aedat\n")
    for word in speech_commands.WORDS:
        (folder / "words" / word).mkdir(parents=True)
    for number in range(3):
        for word in speech_commands.WORDS if number == 0 else ("yes",):
            wavfile.write(folder / "words" / word / f"{number}.wav", 16000, np.arange(20, dtype=np.int16))
    for number, name in enumerate(("validation_list.txt", "testing_list.txt"), start=1):
        (folder / "words" / name).write_text(f"yes/{number}.wav\n")
    paths = folder / "paths" / "curv_contour_length_14"
    (paths / "metadata").mkdir(parents=True)
    (paths / "imgs").mkdir()
    for number in range(10):
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(paths / "imgs" / f"{number}.png")
    rows = [f"imgs {number}.png {number} {number % 2} 1.8 6 2 14\n" for number in range(10)]
    (paths / "metadata" / "1.npy").write_text("".join(rows))


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
    (folder / "run.toml").write_text(tomli_w.dumps(SMALL))
    (folder / "speck.toml").write_text((chip.CHIPS / "speck2e.toml").read_text())
    network = trained(0, d_input=2048, d_output=11, d_model=2, d_state=2, layers=1)
    task = {"name": "dvs_gesture", "classes": 11, "channels": 2048, "tokens": False, "steps": 60}
    save(folder / "float.pt", Checkpoint(network, task, {"accuracy": 0.5, "history": [{"epoch": 1, "loss": 5.0}]}))
    np.save(folder / "counts.npy", np.ones((1, 8, 2048), np.float32))
    content = torch.load(folder / "theirs.pt", weights_only=True) | {"pytorch-lightning_version": "2.0"}
    torch.save(content | {"hyper_parameters": argparse.Namespace(lr=0.1)}, folder / "theirs.ckpt")
    write_nir(speck_network(0), folder / "specks.nir")
    np.save(folder / "spikes.npy", speck_events(0, speck_network(0), samples=1, steps=4))
    write_nir(chain((2,), [("n0", Affine(np.eye(2, dtype=np.float32))), ("n1", LIF(ones[0, 0, :2], ones[0, 0, :2]))]),
              folder / "small.nir")  # fmt: skip
    tenth = np.full((2, 1), 0.1, np.float32)  # its decisions lie upon the threshold: no rounding is too small
    write_nir(chain((1,), [("n0", Affine(tenth)), ("n1", LIF(ones[0, 0, :2] / 2, tenth[:, 0].astype(float)))]),
              folder / "edge.nir")  # fmt: skip
    np.save(folder / "edge.npy", np.ones((1, 3, 1), np.float32))
    copies_of_data(folder)
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
            "certify model.nir --twin twin.nir --input x.npy -o twin.json",
            "certify edge.nir --input edge.npy -o edge.json",
            "quantize specks.nir --chip speck2e --calibrate spikes.npy -o speck.nir",
            "quantize float.pt --chip loihi2 --calibrate counts.npy -o integers.nir --scaled scaled.pt",
            " ".join(RESUMED),
        ):
            done = go(*line.split())
            assert done.code == 0, done.stderr
    shutil.copy(folder / "reference.iterative.h5", folder / "reference.h5")
    shutil.copy(folder / "trace.numpy.h5", folder / "trace.h5")
    shutil.copytree(folder / "run", folder / "shards")
    split(folder / "shards", 2)
    (folder / "road").mkdir()
    for name in ("metrics.json", "road.json", "verdict.numpy.json", "trace.numpy.h5", "reference.iterative.h5"):
        shutil.copy(folder / name, folder / "road")
    (folder / "shrunk").mkdir()
    judge, case = CommandJudge("false {model} {input}"), Case((load(folder / "small.nir"),), x)
    shrink(case, judge, Journal(folder / "shrunk" / JOURNAL, f"{judge} on {case.key}"))
    shutil.rmtree(folder / CACHE, ignore_errors=True)
    for name in ("float.pt", "integers.nir", "specks.nir"):
        (folder / name).unlink()
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


def files(folder: Path) -> dict[str, int]:
    """Every file of a case, and when it was written; in the cache those that aren't whole."""
    found = {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    return {name: time for name, time in found.items() if not name.startswith(f"{CACHE}/") or "/." in name}


def faults(folder: Path, name: str, arguments: tuple[str, ...]) -> list[str]:
    """What is wrong with how a command ended on a folder in which the file ``name`` was made wrong."""
    held = files(folder)
    try:
        with contextlib.chdir(folder), bounded(), warnings.catch_warnings():
            warnings.simplefilter("default")
            done = go(*arguments)
    except Hung:
        return [f"{SECONDS} s were not enough"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    left = files(folder)
    new = [path for path, written in left.items() if held.get(path) != written]
    wrong = []
    if done.code not in (0, 1, 2):
        wrong.append(f"exit code {done.code}")
    table = arguments[0] == "check" and done.code == 2 and done.stdout  # who can't run it, and why
    if done.code == 2 and not table and (len(lines) != 1 or not done.stderr.endswith(lines[0] + "\n")):
        wrong.append("not one line")
    said = [Path(name).stem, *(Path(part).stem for part in arguments if Path(part).suffix or part == "none such")]
    if name.startswith("shards/"):
        said.append("last")  # a shard whose hash is right is of the state that last.pt lists
    # what the wrong file asks for may be missing in a folder of others
    said += [part for part in arguments if (folder / part).is_dir() and part not in Path(name).parts]
    if done.code == 2 and lines and not any(part in lines[-1] for part in said):
        wrong.append("the file isn't named")
    if "Traceback" in done.stderr:
        wrong.append("a traceback")
    shown = done.stdout + done.stderr.replace("\r", "")
    if any(not one.isprintable() and one != "\n" for one in shown):
        wrong.append("control characters")
    if any(len(line) > LONGEST + 100 for line in done.stderr.replace("\r", "\n").splitlines()):
        wrong.append("a long line")
    if done.code == 2 and held.keys() - left.keys():
        wrong.append(f"taken away: {', '.join(held.keys() - left.keys())}")
    if [one for one in new if Path(one).name.startswith(".")] or (done.code == 2 and new):
        wrong.append(f"left behind: {', '.join(new)}")
    return [f"{one}; {done.stderr[-600:]}" for one in wrong]


def laid_out(corpus: Path, folder: Path, name: str, arguments: tuple[str, ...]) -> None:
    """A case: the files of the corpus, and of its folders those that are read."""
    read = {Path(part).parts[0] for part in (name, *arguments) if Path(part).parts}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for entry in corpus.iterdir():
        if entry.is_dir() and entry.name in read:
            shutil.copytree(entry, folder / entry.name)
        elif entry.is_file():
            shutil.copy2(entry, folder)


def tried(corpus: Path, folder: Path, name: str, seeds: range) -> list[str]:
    """The faults of every command that reads ``name``, made wrong in as many ways as there are seeds."""
    found = []
    for seed in seeds:
        arguments = RUNS[name][seed % len(RUNS[name])]
        laid_out(corpus, folder, name, arguments)
        fuzzing.mutate(folder / name, seed)
        if name == "edge.listed.h5":
            fuzzing.certify_again(folder / "edge.json")
        if name == "shards/last.1.0.safetensors" and seed % 4:
            stamp(folder / "shards")
        found += [f"{name}, seed {seed}, {' '.join(arguments)}: {one}" for one in faults(folder, name, arguments)]
    return found


def speed(name: str) -> str:
    return "slow" if RUNS[name][0][0] in SLOW else "fast"


@pytest.mark.parametrize("name", RUNS)
def test_some(corpus: Path, tmp_path: Path, name: str) -> None:
    assert tried(corpus, tmp_path / "case", name, range(SOME[speed(name)])) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_many(corpus: Path, tmp_path: Path, name: str) -> None:
    assert tried(corpus, tmp_path / "case", name, range(1000, 1000 + MANY[speed(name)])) == []


def test_the_cases_are_as_many_as_the_page_says() -> None:
    some, many = (sum(numbers[speed(name)] for name in RUNS) for numbers in (SOME, MANY))
    assert some >= 1000
    assert many >= 20_000
    assert "a thousand damaged files in `make test`, twenty thousand in `make test-all`" in SECURITY.read_text()


FOUND = (("model.nir", 1310), ("plain.nir", 1446), ("ckpt.pt", 1165), ("ckpt.safetensors", 1910), ("chip.toml", 1079),
         ("speck.nir", 1177), ("chip.toml", 1162), ("scaled.pt", 1444), ("sdn.pt", 1277))  # fmt: skip
"""What long runs found, once: an importer's reading of another shape, a shape of NaN, sizes of 2^63, limits of 0; a
padding that is a word, a family that is a table, scales of another layer, a pickle that ends too soon."""


@pytest.mark.parametrize(("name", "seed"), FOUND)
def test_found(corpus: Path, tmp_path: Path, name: str, seed: int) -> None:
    assert tried(corpus, tmp_path / "case", name, range(seed, seed + 1)) == []
