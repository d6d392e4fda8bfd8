"""Runs: resumed to the same bits whatever stopped them, described by TOML, logged, shared by several processes."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import two_ranks
from commands import run
from stopped import stopping_after
from tensorboardX.proto.event_pb2 import Event

from train import tasks
from train.checkpoint import load
from train.experiment import Experiment
from train.recipe import Recipe
from train.run import command, splits
from train.tasks import Split, Task

HERE = Path(__file__).parent
OPTIONS = [
    "--task", "digits", "--epochs", "3", "--d-model", "8", "--d-state", "2", "--dropout", "0.2", "--batch", "200",
    "--validation", "0.1", "--target-rate", "0.05", "--shift", "1",
]  # fmt: skip


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).network.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert run(command, *OPTIONS, "--run-dir", folder).code == 0
    return folder


def test_a_run_by_the_fused_kernel_that_stopped_ends_in_the_same_weights(tmp_path):
    options = [*OPTIONS, "--parallel", "scan:1,fused:2"]
    assert run(command, *options, "--run-dir", tmp_path / "unbroken").code == 0
    with stopping_after(2):
        assert run(command, *options, "--run-dir", tmp_path / "run").code == 130
    assert run(command, *options, "--run-dir", tmp_path / "run").code == 0
    assert equal(weights(tmp_path / "run" / "ckpt.pt"), weights(tmp_path / "unbroken" / "ckpt.pt"))


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_run_that_stopped_after_an_epoch_ends_in_the_same_weights(tmp_path, unbroken, epochs):
    with stopping_after(epochs):
        assert run(command, *OPTIONS, "--run-dir", tmp_path / "run").code == 130
    assert run(command, *OPTIONS, "--run-dir", tmp_path / "run").code == 0
    assert equal(weights(tmp_path / "run" / "ckpt.pt"), weights(unbroken / "ckpt.pt"))
    ours, theirs = load(tmp_path / "run" / "ckpt.pt").metrics, load(unbroken / "ckpt.pt").metrics
    assert ours["accuracy"] == theirs["accuracy"]
    for a, b in zip(ours["history"], theirs["history"], strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    assert (tmp_path / "run" / "curve.csv").read_text() == (unbroken / "curve.csv").read_text()


def test_a_killed_run_goes_on(tmp_path, unbroken):
    folder = tmp_path / "run"
    arguments = [sys.executable, str(HERE.parent / "train" / "run.py"), *OPTIONS, "--run-dir", str(folder)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "last.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(command, *OPTIONS, "--run-dir", folder).code == 0
    assert equal(weights(folder / "ckpt.pt"), weights(unbroken / "ckpt.pt"))


def test_the_folder_of_a_run(unbroken):
    described = tomllib.loads((unbroken / "experiment.toml").read_text())
    assert described["d_model"] == 8
    assert described["dropout"] == 0.2
    with open(unbroken / "epochs.csv") as file:
        rows = list(csv.DictReader(file))
    history = load(unbroken / "ckpt.pt").metrics["history"]
    assert [float(row["validation_accuracy"]) for row in rows] == [row["validation_accuracy"] for row in history]
    with open(unbroken / "curve.csv") as file:
        curve = list(csv.DictReader(file))
    # one point an epoch here, over all its rows: the epoch's mean
    assert [float(point["loss"]) for point in curve] == pytest.approx([row["loss"] for row in history])
    (events,) = {path.parent for path in (unbroken / "tensorboard").iterdir()}
    losses = {}
    for path in sorted(events.iterdir()):
        for event in read_events(path):
            for value in event.summary.value:
                if value.tag == "train/loss":
                    losses[event.step] = value.simple_value
    assert list(losses.values()) == pytest.approx([row["loss"] for row in history], rel=1e-6)
    assert list(losses) == [int(point["step"]) for point in curve]


def read_events(path: Path) -> list[Event]:
    """TensorBoard's records: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    content, at, events = path.read_bytes(), 0, []
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + size]))
        at += 16 + size
    return events


def test_options_from_a_file_and_beside_it(tmp_path):
    (tmp_path / "small.toml").write_text('task = "digits"\nepochs = 0\nd_model = 12\nlearn_threshold = false\n')
    done = run(command, tmp_path / "small.toml", "--d-state", "3", "--out", tmp_path / "a.pt")
    assert done.code == 0, done.stderr
    config = load(tmp_path / "a.pt").network.config
    assert (config.d_model, config.d_state, config.learn_threshold) == (12, 3, False)
    done = run(command, tmp_path / "small.toml", "--d-model", "7", "--out", tmp_path / "b.pt")
    assert load(tmp_path / "b.pt").network.config.d_model == 7


def test_every_field_has_an_option_a_key_and_help(tmp_path):
    """The four faces of an option agree: field, command line, TOML, config or recipe."""
    from train.experiment import read

    options = {parameter.name: parameter for parameter in command.params}
    plain = command.make_context("run", ["--out", "x.pt"]).params
    assert options.keys() - {"described", "data_dir", "run_dir", "out"} == Experiment.__dataclass_fields__.keys()
    for name, field in Experiment.__dataclass_fields__.items():
        assert options[name].opts == [f"--{name.replace('_', '-')}"]
        assert options[name].help == field.metadata["help"] != ""
        assert plain[name] == field.default
        (tmp_path / "one.toml").write_text(f"{name} = 1\n")
        assert read(tmp_path / "one.toml") == {name: 1}
    given = ["--d-model", "9", "--mix", "glu", "--fixed-threshold", "--model", "spikessm", "--lr", "0.5", "--seed", "3"]
    context = command.make_context("run", [*given, "--train-samples", "7", "--parallel", "pmbc:4,scan:6"])
    experiment = Experiment(**{name: context.params[name] for name in Experiment.__dataclass_fields__})
    config, recipe = experiment.config(tasks.load("digits")), experiment.recipe()
    assert (config.d_model, config.mix, config.learn_threshold, config.seed) == (9, "glu", False, 3)
    assert (config.reset, config.parallel, config.pmbc_iterations) == ("refractory", "scan", 0)
    assert (recipe.lr, recipe.seed, recipe.train_samples, recipe.schedule[0]) == (0.5, 3, 7, ("pmbc", 4))


@pytest.mark.parametrize("path", sorted((HERE.parent / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_the_experiments_are_ones_that_training_takes(path):
    from train.experiment import read

    context = command.make_context("run", [str(path), "--out", "x.pt"])
    options = {name: context.params[name] for name in Experiment.__dataclass_fields__}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    assert {name: given[name] for name in read(path)} == read(path)
    assert Experiment(**options).recipe().epochs == options["epochs"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epoch = 3\n", ["small.toml", "epoch"]),
        ("epochs = \n", ["small.toml", "TOML"]),
        ('epochs = "x"\n', ["x"]),
        ("dropout = 2.0\n", ["small.toml", "dropout is 2.0"]),
        ("length = inf\n", ["small.toml", "length is inf"]),
        ("layers = 1000000000000\n", ["small.toml", "layers: 1000000000000"]),
        ("layers = 10000000\n", ["small.toml", "layers 10000000", "this machine has"]),
        ("d_model = 10000000\n", ["small.toml", "d_model 10000000", "this machine has"]),
        ("d_state = 10000000\nlayers = 1000\n", ["small.toml", "d_state 10000000", "this machine has"]),
    ],
)
def test_bad_experiments(tmp_path, content, words):
    (tmp_path / "small.toml").write_text(content)
    done = run(command, tmp_path / "small.toml", "--out", tmp_path / "a.pt")
    assert done.code == 2
    assert all(word in done.stderr for word in words)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "a.pt").exists()


def test_a_folder_of_another_run_or_of_none_is_refused(tmp_path, unbroken):
    before = (unbroken / "last.pt").read_bytes()
    done = run(command, *OPTIONS, "--lr", "0.02", "--run-dir", unbroken)
    assert done.code == 2
    assert "lr was 0.01, now 0.02" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("text")
    assert "thesis" not in run(command, *OPTIONS, "--run-dir", tmp_path / "mine").stdout
    assert run(command, *OPTIONS, "--run-dir", tmp_path / "mine").code == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert (unbroken / "last.pt").read_bytes() == before


def test_a_damaged_state_is_refused(tmp_path, unbroken):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "experiment.toml").write_text((unbroken / "experiment.toml").read_text())
    (folder / "last.pt").write_bytes((unbroken / "last.pt").read_bytes()[:1000])
    done = run(command, *OPTIONS, "--run-dir", folder)
    assert done.code == 2
    assert "last.pt" in done.stderr


def test_validation_comes_from_training_and_subsets_are_subsets():
    inputs = np.arange(200, dtype=np.float32).reshape(100, 2, 1)
    split = Split(inputs, np.arange(100) % 4)
    data = Task("numbers", split, Split(-inputs, split.labels), classes=4, channels=1)
    training, validation = splits(data, Recipe((("scan", 1),), validation=0.2, train_samples=30, seed=1))
    assert validation is not None
    assert len(training.labels) == 30
    assert len(validation.labels) == 20
    kept, held = set(training.inputs[:, 0, 0].tolist()), set(validation.inputs[:, 0, 0].tolist())
    assert not kept & held
    assert kept | held <= set(inputs[:, 0, 0].tolist())
    assert splits(data, Recipe((("scan", 1),)))[1] is None


@pytest.mark.parametrize(
    ("model", "reset", "parallel"),
    [("spikingssm", "hard", "scan"), ("spikingssm", "hard", "fused"), ("pspikessm", "none", "scan")],
)
def test_two_ranks_train_as_one(tmp_path, model, reset, parallel):
    """The same gradients, BatchNorm statistics, random spikes and rate penalty, to the order of float64 sums."""
    two_ranks.main(str(tmp_path / "one"), model, reset, parallel)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [*torchrun, two_ranks.__file__, str(tmp_path / "two"), model, reset, parallel]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = torch.load(tmp_path / "one"), torch.load(tmp_path / "two")
    for part in ("gradients", "state"):
        assert one[part].keys() == two[part].keys()
        for name in one[part]:
            torch.testing.assert_close(two[part][name], one[part][name], rtol=1e-7, atol=1e-9, msg=name)
    assert any(gradient.abs().max() > 1e-3 for gradient in one["gradients"].values())
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert a == pytest.approx(b)
