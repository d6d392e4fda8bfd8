"""Training: tasks hold real data apart, the command trains, and the same seed gives the same weights."""

import numpy as np
import pytest
import torch
from commands import run

from spikestrip.errors import BadInput
from train import tasks
from train.checkpoint import load
from train.experiment import parse_schedule
from train.run import command
from train.score import spiking_rates


@pytest.mark.parametrize(("name", "size", "steps"), [("digits", 1797, 64), ("mnist5k", 5000, 784)])
def test_tasks_hold_out_a_fifth_of_every_class(name, size, steps):
    task = tasks.load(name)
    assert len(task.train.labels) + len(task.test.labels) == size
    assert task.train.inputs.shape[1:] == (steps, 1)
    assert task.train.inputs.dtype == np.float32
    assert 0 <= task.train.inputs.min() < task.train.inputs.max() == 1
    for label in range(10):
        held, kept = (task.test.labels == label).sum(), (task.train.labels == label).sum()
        assert held == round(0.2 * (held + kept))


def test_no_held_out_sequence_is_trained_on():
    task = tasks.load("mnist5k")
    trained = {sequence.tobytes() for sequence in task.train.inputs}
    assert not any(sequence.tobytes() in trained for sequence in task.test.inputs)


def test_training_learns_and_repeats_bit_for_bit(tmp_path):
    options = ["--task", "digits", "--epochs", "2", "--parallel", "scan", "--d-model", "16", "--d-state", "4"]
    for name in ("a.pt", "b.pt"):
        done = run(command, *options, "--seed", "3", "--out", tmp_path / name)
        assert done.code == 0, done.stderr
    first, second = load(tmp_path / "a.pt"), load(tmp_path / "b.pt")
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    history = first.metrics["history"]
    assert history[1]["loss"] < history[0]["loss"] < 2.4
    assert first.metrics["accuracy"] > 0.3
    assert 0 < first.metrics["spiking_rate"] < 0.6


@pytest.mark.parametrize("model", ["spikingssm", "spikessm", "pspikessm"])
def test_an_untrained_network_fires_on_normal_input(tmp_path, model):
    done = run(command, "--task", "digits", "--model", model, "--epochs", "0", "--out", tmp_path / "zero.pt")
    assert done.code == 0, done.stderr
    network = load(tmp_path / "zero.pt").network
    with torch.no_grad():
        _, trains = network(torch.randn(8, 64, 1, generator=torch.Generator().manual_seed(0)))
    for train in trains:
        assert 0.01 <= train.mean() <= 0.6


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--task", "mnist6k"], "mnist5k"),
        (["--parallel", "magic"], "magic"),
        (["--parallel", "scan:3,bptt:3", "--epochs", "5"], "add up"),
        (["--d-model", "0"], "d-model"),
        (["--tau", "1.5"], "tau"),
        (["--device", "abacus"], "abacus"),
        (["--model", "spikessm", "--reset", "hard"], "hard"),
        (["--model", "pspikessm", "--reset", "hard"], "hard"),
        (["--model", "pspikessm", "--parallel", "sdn"], "sdn"),
        (["--model", "pspikessm", "--prenorm"], "prenorm"),
        (["--task", "event_mnist5k", "--profile", "speck", "--shift", "1"], "shift"),
        (["--lr", "nan"], "lr"),
        (["--shift", str(2**64)], "shift"),
        (["--validation", "0.999"], "--validation: 0.999 of each class leaves none to train on"),
        (["--out", "absent/ckpt.pt", "--epochs", "0"], "absent"),
    ],
)
def test_bad_options_end_in_one_line_and_code_2(tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    done = run(command, "--task", "digits", "--out", "ckpt.pt", *arguments)
    assert done.code == 2, done.stderr
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_schedules():
    assert parse_schedule("scan", 4) == (("scan", 4),)
    assert parse_schedule("scan:3,sdn:1", 4) == (("scan", 3), ("sdn", 1))
    with pytest.raises(BadInput, match="add up"):
        parse_schedule("scan,sdn", 4)


def test_the_gradient_of_a_rate_is_that_of_a_mean_and_takes_no_memory():
    torch.manual_seed(0)
    trains = [torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    rates = spiking_rates(trains)
    torch.testing.assert_close(rates, torch.stack([train.sum() / 30 for train in trains]))
    found = torch.autograd.grad(rates @ torch.tensor([3.0, 6.0], dtype=torch.float64), trains)
    for train, own, weight in zip(trains, found, (3.0, 6.0), strict=True):
        torch.testing.assert_close(own, torch.full_like(train, weight / 30))
        assert not any(own.stride())
