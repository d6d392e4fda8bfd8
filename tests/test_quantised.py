"""Training through integers: what is trained is what quantize writes, spike for spike, and it learns."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import numpy as np
import pytest
import torch

from convert.formats.nir.reading import read
from convert.lowering.loihi2 import loihi2
from convert.strip import strip
from deploy.quantize import command as quantize
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import FixedLIF
from spikestrip.scales import Scales
from train.checkpoint import Checkpoint, load, save
from train.config import Config
from train.networks import Network
from train.quantised import QuantisedNetwork
from train.quantised.straight import spikes
from train.run import command as train

SHAPE = {"d_input": 1, "d_output": 10, "d_model": 8, "d_state": 4}


def float_network(**changed: object) -> Network:
    """Untrained, with norms whose statistics and gains say something."""
    torch.manual_seed(5)
    network = Network(Config(**{**SHAPE, **changed}))
    for block in network.blocks:
        if isinstance(block.norm, torch.nn.BatchNorm1d):
            for values in (block.norm.running_var, block.norm.weight.data):
                values.uniform_(0.5, 2.0)
            for values in (block.norm.running_mean, block.norm.bias.data, block.neuron.ln_vth.data):
                values.normal_(0, 0.3)
    return network.eval()


def samples(count: int, steps: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, 1)).astype(np.float32)


def quantised(network: Network) -> QuantisedNetwork:
    made = QuantisedNetwork(network.config, loihi2(strip(network), samples(4)).scales)
    made.load_state_dict(network.state_dict())
    return made


@pytest.mark.parametrize("readout", ["mean", "sequence"])
def test_the_forward_pass_is_the_integer_program(readout: str) -> None:
    """With gradients and without, after steps that moved every weight: each spike and each answer."""
    made, x = quantised(float_network(readout=readout)), samples(3, seed=1)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
    before = strip(made).sha256
    for _ in range(2):
        logits, _ = made(torch.from_numpy(x))
        optimiser.zero_grad()
        logits.square().sum().backward()
        optimiser.step()
    program = loihi2(strip(made), scales=made.scales).program
    assert strip(made).sha256 != before
    trace = simulate(program, x)
    assert all(0.01 < train.mean() < 0.9 for train in trace.spikes.values())
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            logits, trains = made(torch.from_numpy(x))
        for expected, found in zip(trace.spikes.values(), trains, strict=True):
            np.testing.assert_array_equal(found.detach().transpose(1, 2).numpy(), expected)
        np.testing.assert_array_equal(logits.detach().numpy(), trace.output)


def test_scales_held_give_the_same_integers_and_survive_a_file(tmp_path: Path) -> None:
    network = float_network()
    lowered = loihi2(strip(network), samples(4))
    save(tmp_path / "scaled.safetensors", Checkpoint(network, scales=lowered.scales))
    scales = load(tmp_path / "scaled.safetensors").scales
    assert loihi2(strip(network), scales=scales).program.sha256 == lowered.program.sha256


def test_words_that_held_exponents_cannot_reach_are_clipped() -> None:
    """A weight that grew beyond its words takes their largest value, 254 of each."""
    network = float_network()
    scales = loihi2(strip(network), samples(4)).scales
    network.head.weight.data[0, 0] = 1e3
    head = loihi2(strip(network), scales=scales).program["n11_head"].operation
    np.testing.assert_array_equal(head.weight[:, 0, 0], [254, 254])


def test_gradients_of_spikes() -> None:
    """Against differences of the surrogate's own primitive, where no spike changes the path: one step, one neuron."""
    neuron = FixedLIF(2048, 100)
    x = torch.tensor([90.0, 80.0, 10.0], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    fired = spikes(x, neuron, "triangle")
    np.testing.assert_array_equal(fired.detach().ravel(), [0, 1, 0])
    (grad,) = torch.autograd.grad(fired[1].sum(), x)
    # v' = 0.9, 1.25, 0.1 thresholds; slopes 0.9, 0.75; v'[0] is halved on its way, and its own spike would reset it
    at_first = 0.5 * ((1 - 0) - 0.9 * 0.9) * 0.75 / 100
    np.testing.assert_allclose(grad.ravel(), [at_first, 0.75 / 100, 0], rtol=1e-6)


def test_gradients_are_those_of_the_float_network() -> None:
    """To the error of the words: the same loss on the same input, nearly the same spikes."""
    network, x = float_network(), torch.from_numpy(samples(4))
    made, found = quantised(network), []
    for each in (network.eval(), made):
        logits, _ = each(x)
        logits.double().square().sum().backward()
        found.append({name: parameter.grad.double() for name, parameter in each.named_parameters()})
    for name, expected in found[0].items():
        error = (found[1][name] - expected).norm() / expected.norm()
        assert error < 0.1, f"{name}: {error}"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"reset": "soft"}, "no soft reset"),
        ({"mix": "glu"}, "no glu mix"),
        ({"norm": "layer"}, "BatchNorm"),
        ({"norm": "batch", "prenorm": True}, "BatchNorm"),
        ({"tokens": True}, "tokens"),
        ({"model": "spikessm", "reset": "refractory"}, "SpikingSSM"),
    ],
)
def test_what_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(Refused, match=says):
        QuantisedNetwork(Config(**{**SHAPE, **changed}), Scales())


def test_scales_of_another_network_are_refused() -> None:
    network = float_network()
    scales = loihi2(strip(network), samples(4)).scales
    with pytest.raises(BadInput, match=r"modes \(5, 8\)"):
        loihi2(strip(float_network(d_state=5)), scales=scales)
    with pytest.raises(BadInput, match="hold nothing for layer"):
        loihi2(strip(float_network(layers=3)), scales=scales)
    content = scales.json()
    for broken in ({"chip": "speck2f"}, {"entry": 1.5}, {"units": {"a": 0}}, {"states": {"a": [1]}}, {"words": 3}):
        with pytest.raises(BadInput, match="scales"):
            Scales.parse({**content, **broken})
    assert Scales.parse(json.loads(json.dumps(content))).json() == content


def test_from_a_checkpoint_to_the_integers_that_were_trained(tmp_path: Path) -> None:
    """By the commands. It learns, and what it scored is what runs."""
    ckpt, scaled, tuned = (tmp_path / f"{name}.safetensors" for name in ("float", "scaled", "tuned"))
    net = ["--task", "digits", "--d-model", 8, "--d-state", 4, "--seed", 1]
    done = commands.run(train, *net, "--epochs", 3, "--out", ckpt)
    assert done.code == 0, done.stderr
    from train import tasks

    data = tasks.load("digits")
    np.save(tmp_path / "x.npy", data.train.inputs[:32])
    done = commands.run(train, "--task", "digits", "--start", ckpt, "--quantize", "loihi2", "--out", tuned)
    assert done.code == 2
    assert "carries no scales" in done.stderr
    done = commands.run(quantize, ckpt, "--chip", "loihi2", "--calibrate", tmp_path / "x.npy", "--scaled", scaled)
    assert done.code == 0, done.stderr
    how = ["--quantize", "loihi2", "--epochs", 3, "--lr", 0.03]
    done = commands.run(train, "--task", "digits", "--start", scaled, *how, "--out", tuned)
    assert done.code == 0, done.stderr
    history = load(tuned).metrics["history"]
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    done = commands.run(quantize, tuned, "--chip", "loihi2", "--calibrate", tmp_path / "x.npy")
    assert done.code == 0, done.stderr
    assert "those that the checkpoint carries" in done.stdout
    assert load(tuned).scales.json() == load(scaled).scales.json()
    program = read(tmp_path / "tuned.q.nir")
    trace = simulate(program, data.test.inputs)
    right = float((trace.output.argmax(axis=-1) == data.test.labels).mean())
    assert load(tuned).metrics["accuracy"] == pytest.approx(right, abs=1e-6)  # summed in float32
    done = commands.run(quantize, tuned, "--chip", "loihi2", "--words", 3)
    assert done.code == 2
    assert "words it was trained with" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--quantize", "loihi2"], "give its checkpoint as --start"),
        (["--start", "CKPT", "--quantize", "loihi2", "--margin", 0.1], "no --margin"),
        (["--start", "CKPT", "--quantize", "loihi2", "--parallel", "block"], "no other --parallel"),
        (["--start", "CKPT", "--quantize", "loihi2", "--new-head"], "no --new-head"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: list[object], says: str) -> None:
    ckpt = tmp_path / "c.safetensors"
    save(ckpt, Checkpoint(float_network()))
    given = [ckpt if option == "CKPT" else option for option in options]
    done = commands.run(train, "--task", "digits", *given, "--out", tmp_path / "out.pt")
    assert done.code == 2
    assert says in done.stderr
    assert not (tmp_path / "out.pt").exists()
