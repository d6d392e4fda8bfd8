"""Training for a time: the learning rate comes down by the clock, and training ends."""

import pytest
import torch

from spikestrip.errors import SpikestripError
from train import loop, tasks
from train.config import Config
from train.networks import Network
from train.neurons.checks import later, require
from train.recipe import Recipe


def test_the_schedule_follows_whichever_is_further() -> None:
    recipe = Recipe((("scan", 100),), warmup=0.1, minutes=10)
    assert recipe.factor(0, 10, 0.0) == Recipe((("scan", 100),), warmup=0.1).factor(0, 10)
    assert recipe.factor(0, 10, 30.0) == pytest.approx(0.51)  # 5% of the time: the middle of the warm-up
    assert recipe.factor(0, 10, 330.0) == pytest.approx(0.5)  # 55%: the middle of the cosine
    assert recipe.factor(550, 10, 30.0) == pytest.approx(0.5)  # 55% of the steps
    assert recipe.factor(3, 10, 6000.0) == 0


def test_training_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))  # a second a look
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    task = tasks.load("digits")
    network = Network(Config(d_input=1, d_output=10, d_model=4, d_state=2, layers=1))
    progress = loop.train(network, task.train, Recipe((("scan", 50),), batch=500, minutes=0.1), "cpu")
    assert len(progress.epochs) == 2  # a look a step, three steps an epoch and two looks around it
    assert progress.curve[-1]["step"] < 50 * 3


def test_checks_on_a_device_wait_and_are_kept() -> None:
    class OnDevice(torch.Tensor):
        device = torch.device("meta")  # type: ignore[assignment]

    def wrong() -> SpikestripError:
        return SpikestripError("wrong")

    with later() as checks:
        require(torch.tensor([True, False]).as_subclass(OnDevice), wrong)  # not looked at
        require(torch.tensor([True, True]).as_subclass(OnDevice), wrong)  # doesn't make it good
        with pytest.raises(SpikestripError, match="wrong"):
            checks.settle()
        require(torch.tensor([True]).as_subclass(OnDevice), wrong)
    with pytest.raises(SpikestripError, match="wrong"), later():
        require(torch.tensor([False]).as_subclass(OnDevice), wrong)
    with pytest.raises(SpikestripError, match="wrong"):
        require(torch.tensor([True, False]), wrong)
