"""Sides computed by SDN, or by PMBC in M iterations: held to what that form itself decides."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from convert.strip import strip
from deploy.verify import verify
from simulators.reference import reference
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper
from spikestrip.program import Program
from spikestrip.trace import Trace
from train.config import Config
from train.networks import Network
from train.neurons.sdn import shipped
from train.neurons.sdn_network import Folded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def network(parallel: str, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    shape: dict[str, Any] = {"d_model": 12, "d_state": 4, "layers": 2, "norm": "none", "parallel": parallel}
    if parallel == "pmbc":
        made = Network(Config(2, 3, model="spikessm", reset="refractory", pmbc_iterations=3, **shape))
    else:
        made = Network(Config(2, 3, **shape))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("ln_vth"):
                parameter.copy_(0.3 * torch.randn(parameter.shape))
            if name.endswith("mix.weight"):
                parameter.mul_(2)
    return made.eval()


def sides(made: Network, dtype: str, seed: int = 1) -> tuple[Program, Trace, Trace]:
    x = np.random.default_rng(seed).normal(0.5, 3, (6, 300, 2)).astype(np.float32)
    return strip(made), reference(made, x, "parallel", dtype, "cpu"), reference(made, x, "iterative", "float64", "cpu")


def with_spikes(program: Program, side: Trace, spikes: dict[str, np.ndarray]) -> Trace:
    """A side that says all that ``side`` says, fired ``spikes``, and gives the output that follows from them."""
    stepper, stream = Stepper(program, len(side.input)), []
    for t in range(side.input.shape[1]):
        clamped = {name: train[:, t].astype(np.float64) for name, train in spikes.items()}
        stream.append(stepper.step(side.input[:, t].astype(np.float64), clamped)[program.output])
    return Trace(dict(side.attrs), side.input, program.finish(np.stack(stream, axis=1)), spikes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("parallel", "cause"), [("sdn", "surrogate"), ("pmbc", "undecided")])
@pytest.mark.parametrize("seed", range(4))
def test_an_honest_side_passes_by_its_own_form(parallel: str, cause: str, dtype: str, seed: int) -> None:
    made = network(parallel, seed)
    program, side, truth = sides(made, dtype, seed)
    verdict = verify(side, truth, program, network=made)
    assert verdict.passed, verdict.failures
    assert verdict.causes.get(cause, 0) > 0
    assert not verify(side, truth, program).passed


@pytest.mark.parametrize("parallel", ["sdn", "pmbc"])
@pytest.mark.parametrize("what", ["one flip", "random", "silence", "complement", "iterative"])
def test_a_declared_side_is_held_to_its_form(parallel: str, what: str) -> None:
    made = network(parallel)
    program, side, truth = sides(made, "float64")
    rng = np.random.default_rng(0)
    made_up = {
        "random": lambda train: (rng.random(train.shape) < 0.2).astype(np.uint8),
        "silence": np.zeros_like,
        "complement": lambda train: 1 - train,
        "one flip": np.copy,
    }
    if what == "iterative":  # what it stands for is not what it declares, either
        spikes = dict(truth.spikes)
    else:
        spikes = {name: made_up[what](train) for name, train in side.spikes.items()}
    if what == "one flip":
        spikes[list(spikes)[-1]][1, 100, 3] ^= 1
    verdict = verify(with_spikes(program, side, spikes), truth, program, network=made)
    assert not verdict.passed
    assert verdict.failures


def test_another_network_is_refused() -> None:
    program, side, truth = sides(network("sdn"), "float64")
    with pytest.raises(BadInput, match="strips to another program"):
        verify(side, truth, program, network=network("sdn", 5))


def test_another_surrogate_is_refused() -> None:
    made = network("sdn")
    program, side, truth = sides(made, "float64")
    made.set_surrogate(dataclasses.replace(shipped("hard", 0.125), network=Folded()))
    with pytest.raises(BadInput, match="is another surrogate"):
        verify(side, truth, program, network=made)


@pytest.mark.parametrize("rounds", ["3", 0, 2.5])
def test_iterations_that_are_no_number_are_refused(rounds: Any) -> None:
    program, side, truth = sides(network("pmbc"), "float64")
    side.attrs["iterations"] = rounds
    with pytest.raises(BadInput, match="its iterations are"):
        verify(side, truth, program)
