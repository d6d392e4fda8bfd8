"""``spikestrip road``: what it leaves agrees with the traces and verdicts, and its exit code with the worst of them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import results_table

from deploy import demo, run_folder
from deploy.road import command
from simulators import backends
from simulators.backends.numpy import NumpyBackend
from spikestrip import trace
from train import tasks
from train.checkpoint import Checkpoint, save
from train.config import Config
from train.networks import Network
from train.tasks import Split, Task

SAMPLES, STEPS, WIDTH, CLASSES = 4, 24, 6, 3
QUICK = "numpy,torch,onnxruntime,sinabs"


def checkpoint(path: Path, **options) -> Path:
    torch.manual_seed(0)
    config = Config(1, CLASSES, d_model=WIDTH, d_state=3, layers=2, **options)
    save(path, Checkpoint(Network(config).eval(), {"name": "noise"}, {"accuracy": 0.5, "spiking_rate": 0.1}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Input, labels, and a road of a network with hard reset."""
    folder = tmp_path_factory.mktemp("road")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(size=(SAMPLES, STEPS, 1)).astype(np.float32))
    np.save(folder / "y.npy", rng.integers(0, CLASSES, SAMPLES))
    walked = walk(folder, checkpoint(folder / "hard.pt"), folder / "hard", QUICK)
    assert walked.code == 0, walked.stderr
    (folder / "printed.txt").write_text(walked.stdout)
    return folder


def walk(folder, network, out, names):
    return run(command, network, *given(folder), "--out", out, "--backends", names)


def given(folder):
    return "--input", folder / "x.npy", "--labels", folder / "y.npy"


def summary(out):
    return json.loads((out / "road.json").read_text())


def test_road_json_says_what_verdicts_and_traces_say(folder):
    out, labels = folder / "hard", np.load(folder / "y.npy")
    found = summary(out)
    assert list(found["runs"]) == ["iterative", "parallel", *QUICK.split(",")]
    for name, row in found["runs"].items():
        file = f"reference.{name}.h5" if name in ("iterative", "parallel") else f"trace.{name}.h5"
        recorded = trace.read(out / file)
        assert row["neuron_steps"] == SAMPLES * STEPS * WIDTH * 2
        assert row["events"]["spikes"] == sum(int(train.sum()) for train in recorded.spikes.values()) > 0
        acs = sum(int(table["synaptic_acs"].sum()) for table in recorded.events.values())
        assert row["events"]["synaptic_acs"] == acs
        hits = [int(np.argmax(logits)) == label for logits, label in zip(recorded.output, labels, strict=True)]
        assert row["accuracy"] == sum(hits) / SAMPLES
        if name != "iterative":
            verdict = json.loads((out / f"verdict.{name}.json").read_text())
            assert [row[key] for key in ("verdict", "differ", "causes")] == [
                verdict[key] for key in ("verdict", "differ", "causes")
            ]
    assert found["runs"]["iterative"]["verdict"] == "reference"
    assert found["bytes"] == {name: len((out / name).read_bytes()) for name in ("model.nir", "model.onnx")}
    assert "report.html" in (folder / "printed.txt").read_text()
    assert (out / "report.html").is_file()


def test_a_backend_that_cant_hold_the_network_is_refused_by_layer_and_no_failure(folder, tmp_path):
    refractory = checkpoint(tmp_path / "refractory.pt", model="spikessm", reset="refractory")
    (tmp_path / "out").mkdir()
    stale = (folder / "hard" / "trace.sinabs.h5").read_bytes()
    (tmp_path / "out" / "trace.sinabs.h5").write_bytes(stale)  # of another network: it mustn't stay
    done = walk(folder, refractory, tmp_path / "out", "numpy,sinabs")
    assert done.code == 0, done.stderr
    runs = summary(tmp_path / "out")["runs"]
    assert runs["numpy"]["verdict"] == "pass"
    assert set(runs["sinabs"]) == {"refused", "by"}
    assert "block0_spike" in runs["sinabs"]["by"]
    assert "sinabs: refused: backend sinabs, layer" in done.stdout
    assert not (tmp_path / "out" / "trace.sinabs.h5").exists()
    table = run(results_table.command, folder / "hard" / "road.json", tmp_path / "out" / "road.json").stdout
    hard, refractory = (line.split(" | ") for line in table.splitlines()[2:])
    assert hard[-1] == "0 |"
    assert refractory[-1] == "refused: sinabs has no refractory neuron |"
    assert refractory[-3:-1] == ["not run", "not run"]


def test_a_strangers_backend_alone_is_all_that_is_reported(folder, tmp_path, monkeypatch):
    class Chip(NumpyBackend):
        name = "chip"

    monkeypatch.setattr(backends, "names", lambda: ("numpy", "chip"))
    monkeypatch.setattr(backends, "load", lambda name: Chip())
    done = walk(folder, folder / "hard.pt", tmp_path / "out", "chip")
    assert done.code == 0, done.stderr
    assert list(summary(tmp_path / "out")["runs"]) == ["iterative", "parallel", "chip"]
    left = {file.name for file in (tmp_path / "out").glob("*.h5")}
    assert left == {
        "reference.iterative.h5", "reference.parallel.h5", "trace.chip.h5",
        "verdict.parallel.differences.h5", "verdict.chip.differences.h5",
    }  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text()
    runs = re.search(r'<table class="sortable runs">.*?</table>', page, re.DOTALL)
    assert runs is not None
    assert re.findall(r"<tr><td[^>]*>([^<]*)</td>", runs[0]) == ["parallel (scan)", "iterative", "chip"]
    assert "Missing" not in page


def test_every_file_of_a_road_is_known_to_the_next(folder):
    """What a road wrote is taken away or written over by a road there: nothing of another network stays."""
    known = run_folder.found(folder / "hard", (*run_folder.REPLACED, *run_folder.WRITTEN_OVER))
    assert set(known) == set((folder / "hard").iterdir())


def test_drawn_spikes_and_missing_labels(folder, tmp_path):
    drawn = checkpoint(tmp_path / "drawn.pt", model="pspikessm", reset="none", mix="glu")
    done = run(command, drawn, "--input", folder / "x.npy", "--out", tmp_path / "out", "--backends", "numpy,torch")
    assert done.code == 0, done.stderr
    runs = summary(tmp_path / "out")["runs"]
    assert all("accuracy" not in row for row in runs.values())
    assert not (tmp_path / "out" / "labels.npy").exists()


def test_a_verdict_that_fails_is_exit_code_1_with_everything_written(folder, tmp_path, monkeypatch):
    right = NumpyBackend.run

    def wrong(self, *arguments):
        recording = right(self, *arguments)
        next(iter(recording.spikes.values()))[2, 5, 1] ^= 1
        return recording

    monkeypatch.setattr(NumpyBackend, "run", wrong)
    done = walk(folder, folder / "hard.pt", tmp_path / "out", "numpy,torch")
    assert done.code == 1
    assert done.stderr.endswith("verification failed: numpy\n")
    runs = summary(tmp_path / "out")["runs"]
    assert (runs["numpy"]["verdict"], runs["torch"]["verdict"]) == ("fail", "pass")
    assert runs["numpy"]["differ"] == 1
    assert "Not verified" in (tmp_path / "out" / "report.html").read_text()
    table = run(results_table.command, tmp_path / "out" / "road.json").stdout
    assert "**1, fail**" in table


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("backend", "'fly' is not one of"),
        ("input", "the program takes (B, T, 1)"),
        ("shape", "integers of shape (4,)"),
        ("class", "labels from 0 to 3"),
        ("checkpoint", "no such file"),
        ("out", "can't be a run folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, tmp_path, damage, reason):
    np.save(tmp_path / "x.npy", np.zeros((SAMPLES, STEPS, 2 if damage == "input" else 1), np.float32))
    np.save(tmp_path / "y.npy", {"shape": np.zeros((2, 3), int), "class": np.arange(4)}.get(damage, np.zeros(4, int)))
    out = tmp_path / "out"
    if damage == "out":
        out.write_text("a file")
    network = folder / ("none.pt" if damage == "checkpoint" else "hard.pt")
    done = walk(tmp_path, network, out, "fly" if damage == "backend" else "numpy")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert reason in done.stderr
    assert not out.is_dir()


def test_a_table_of_what_is_no_road_is_refused(tmp_path):
    (tmp_path / "road.json").write_text('{"rows": 3}')
    done = run(results_table.command, tmp_path / "road.json")
    assert (done.code, done.stderr.count("\n")) == (2, 1)


def test_the_demo_is_training_and_the_same_road(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    noise = Split(rng.normal(size=(80, STEPS, 1)).astype(np.float32), rng.integers(0, CLASSES, 80))
    monkeypatch.setattr(tasks, "load", lambda name, *_: Task("noise", noise, noise, CLASSES, 1))
    monkeypatch.setitem(tasks.TASKS, "noise", STEPS)
    for name, value in {"WIDTH": WIDTH, "MODES": 3, "SCHEDULE": (("scan", 0), ("sdn", 0)), "SHIFT": 0}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(run_folder, "BACKENDS", ("numpy",))
    done = run(demo.command, "--out", tmp_path / "demo")
    assert done.code == 0, done.stderr
    found = summary(tmp_path / "demo")
    assert (found["samples"], found["runs"]["numpy"]["verdict"]) == (demo.SAMPLES, "pass")
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert (metrics["held_out"], metrics["parallel"], metrics["task"]) == (80, "sdn", "noise")
    chosen = np.load(tmp_path / "demo" / "labels.npy")
    again = run(
        command, tmp_path / "demo" / "ckpt.pt", "--input", tmp_path / "demo" / "x.npy",
        "--labels", tmp_path / "demo" / "labels.npy", "--out", tmp_path / "again", "--backends", "numpy",
    )  # fmt: skip
    assert again.code == 0
    for run_of in (found, second := summary(tmp_path / "again")):
        for row in run_of["runs"].values():
            row.pop("seconds")
    assert found == second
    assert len(chosen) == demo.SAMPLES


def test_held_out_sequences_of_the_networks_task(tmp_path):
    torch.manual_seed(0)
    network = Network(Config(1, 10, d_model=WIDTH, d_state=2, layers=1)).eval()
    save(tmp_path / "digits.pt", Checkpoint(network, {"name": "digits", "steps": 64}))
    options = ("--samples", 3, "--backends", "numpy", "--out", tmp_path / "out")
    done = run(command, tmp_path / "digits.pt", *options)
    assert done.code == 0, done.stderr
    x, labels = np.load(tmp_path / "out" / "x.npy"), np.load(tmp_path / "out" / "labels.npy")
    test = tasks.load("digits").test
    for one, label in zip(x, labels, strict=True):
        assert any(
            np.array_equal(one, other) and label == its for other, its in zip(test.inputs, test.labels, strict=True)
        )
    assert "accuracy" in summary(tmp_path / "out")["runs"]["numpy"]
    both = run(command, tmp_path / "digits.pt", "--input", tmp_path / "out" / "x.npy", *options)
    assert (both.code, both.stderr.count("\n")) == (2, 1)
