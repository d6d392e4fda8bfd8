"""The training loss that widens margins: potentials against a loop over steps, the hinge by hand, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikestrip.errors import BadInput
from train import tasks
from train.config import Config
from train.experiment import Experiment
from train.loop import train
from train.margin import hinge, hinges, potentials
from train.networks import Network
from train.neurons.methods import spikes
from train.neurons.neuron import Neuron
from train.recipe import Recipe


def tensor(value: object) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def neuron(reset: str, soft: bool = True) -> Neuron:
    more = {"tau_r": tensor([0.9, 0.5]), "uth": tensor([0.3, 1.5])} if reset == "refractory" else {}
    return Neuron(reset, tensor(0.6), tensor([0.8, 1.3]), soft=soft, **more)  # type: ignore[arg-type]


def by_steps(x: np.ndarray, fired: np.ndarray, reset: str, soft: bool) -> np.ndarray:
    """u' by the equations of docs/how-it-works.md, one neuron and step at a time."""
    found = np.zeros_like(x)
    for b in range(x.shape[0]):
        for h, (vth, tau_r, uth) in enumerate(((0.8, 0.9, 0.3), (1.3, 0.5, 1.5))):
            u = r = last = 0.0
            for t in range(x.shape[2]):
                r = tau_r * r + last
                before = 0.6 * u + x[b, h, t] - (uth * r if reset == "refractory" else 0.0)
                found[b, h, t] = before
                last = fired[b, h, t]
                u = before * (1 - last) if reset == "hard" else before - (vth * last if soft else 0.0)
    return found


@pytest.mark.parametrize(
    ("reset", "soft"), [("hard", True), ("soft", True), ("refractory", True), ("refractory", False)]
)
def test_potentials_are_those_of_the_neuron(reset: str, soft: bool) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(0.5, 1, (2, 2, 200)))
    one = neuron(reset, soft)
    fired = spikes(x, one, "bptt")
    assert 0.05 < float(fired.mean()) < 0.95
    found = potentials(x, fired, one)
    np.testing.assert_allclose(found, by_steps(x.numpy(), fired.numpy(), reset, soft), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(found >= one.vth[:, None], fired == 1)  # no decision here lies within rounding


def test_the_hinge_by_hand() -> None:
    """tau 0: u' is the input. Distances of 0.05, 0.1, 0.5 and 0 thresholds, width 0.2, threshold 2."""
    one = Neuron("hard", tensor(0.0), tensor([2.0]))
    x = tensor([[[2.1, 1.8, 3.0, 2.0]]]).requires_grad_()
    found = hinge(x, spikes(x.detach(), one, "bptt"), one, 0.2)
    assert float(found) == pytest.approx((0.75 + 0.5 + 0 + 1) / 4)
    found.backward()
    assert x.grad is not None  # away from the threshold, on whichever side it is
    assert x.grad[0, 0, :3].tolist() == pytest.approx([-1 / (0.2 * 2 * 4), 1 / (0.2 * 2 * 4), 0])


@pytest.mark.parametrize("reset", ["hard", "soft", "refractory"])
def test_the_gradient_is_that_of_the_hinge_with_the_spikes_held(reset: str) -> None:
    x = torch.from_numpy(np.random.default_rng(1).normal(0.5, 1, (1, 2, 12))).requires_grad_()
    fired = spikes(x.detach(), neuron(reset), "bptt")
    assert torch.autograd.gradcheck(lambda x: hinge(x, fired, neuron(reset), 0.7), x)


@pytest.mark.parametrize("method", ["scan", "block", "bptt", "sdn"])
def test_every_form_is_watched(method: str) -> None:
    torch.manual_seed(0)
    network = Network(Config(d_input=1, d_output=3, d_model=8, d_state=2, layers=2, parallel=method))
    x = torch.randn(2, 40, 1)
    with hinges(network, 0.3) as found:
        network(x)
    assert len(found) == 2
    assert all(0 < float(one) < 1 and one.requires_grad for one in found)
    network(x)
    assert len(found) == 2  # no longer watched


def test_a_form_that_holds_no_currents_widens_none() -> None:
    for parallel in ("fused", "scan:1,fused:1"):
        with pytest.raises(BadInput, match=r"--margin: needs each layer's input current"):
            Experiment(margin=0.1, epochs=2, parallel=parallel).recipe()
    assert Experiment(epochs=2, parallel="fused").recipe().margin is None


def test_a_network_by_fused_is_not_watched_in_vain() -> None:
    network = Network(Config(d_input=1, d_output=3, d_model=16, d_state=2, parallel="fused"))
    with pytest.raises(BadInput, match=r"--margin: needs each layer's input current"), hinges(network, 0.3):
        pass


def test_drawn_spikes_have_no_margin_to_widen() -> None:
    network = Network(Config(model="pspikessm", reset="none", d_input=1, d_output=3, d_model=8, d_state=2, layers=1))
    with pytest.raises(BadInput, match="draws its spikes"), hinges(network, 0.3):
        pass


def test_training_with_it_leaves_fewer_decisions_near_the_threshold() -> None:
    data = tasks.load("digits")
    near = {}
    for margin in (None, 0.2):
        experiment = Experiment(task="digits", d_model=16, d_state=4, epochs=3, margin=margin, parallel="scan")
        torch.manual_seed(0)
        network = Network(experiment.config(data))
        train(network, data.train, experiment.recipe(), "cpu")
        with torch.no_grad(), hinges(network, 0.1) as found:
            network(torch.from_numpy(data.test.inputs[:100]))
        near[margin] = float(sum(found))
    assert near[0.2] < 0.6 * near[None]


def test_the_recipe_takes_the_option() -> None:
    assert Experiment(margin=0.1, epochs=1).recipe() == Recipe((("scan", 1),), margin=0.1)
