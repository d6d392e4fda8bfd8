"""Scores of stripped networks, against the numpy backend in float64."""

import json

import numpy as np
import pytest
import torch
from commands import run

from convert.strip import strip
from deploy.score import command
from simulators.backends import load as load_backend
from train.checkpoint import Checkpoint, load, save
from train.held_out import held_out
from train.run import command as train


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "ckpt.pt"
    done = run(train, "--task", "digits", "--epochs", "1", "--d-model", "8", "--d-state", "2", "--out", path)
    assert done.code == 0, done.stderr
    return path


def test_the_score_is_that_of_the_iterative_program(digits, tmp_path):
    done = run(command, digits, "--samples", "100", "--json", tmp_path / "score.json")
    assert done.code == 0, done.stderr
    found = json.loads((tmp_path / "score.json").read_text())
    test = held_out(load(digits), digits, 100)
    program = strip(load(digits).network)
    recording = load_backend("numpy").run(program, test.inputs, "float64", "cpu", lambda _: None)
    logits = program.finish(recording.output)
    assert found["sequences"] == 100
    assert found["stripped"]["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == test.labels), abs=0.011)
    rates = [train.mean() for train in recording.spikes.values()]
    assert found["stripped"]["spiking_rate"] == pytest.approx(np.mean(rates), rel=1e-3)
    shifted = logits - logits.max(1, keepdims=True)
    chosen = shifted[np.arange(100), test.labels]
    loss = np.mean(np.log(np.exp(shifted).sum(1)) - chosen)
    assert found["stripped"]["loss"] == pytest.approx(loss, rel=1e-3)
    assert found["parallel"]["accuracy"] == load(digits).metrics["accuracy"]


def test_a_checkpoint_without_a_task_is_refused(digits, tmp_path):
    torch.manual_seed(0)
    save(tmp_path / "bare.pt", Checkpoint(load(digits).network))
    done = run(command, tmp_path / "bare.pt")
    assert done.code == 2
    assert "task" in done.stderr
