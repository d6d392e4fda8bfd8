"""Training that begins at a checkpoint: its network, its weights, its dropout or another, its head or a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import commands
import pytest
import torch

from train.checkpoint import Checkpoint, load, save
from train.config import Config
from train.networks import Network
from train.run import command as train


def stored(folder: Path, **config: object) -> tuple[Path, Network]:
    """An untrained network for digits and its checkpoint, but for what ``config`` changes."""
    torch.manual_seed(5)
    network = Network(Config(**{"d_input": 1, "d_output": 10, "d_model": 8, "d_state": 4, **config}))
    path = folder / "c.safetensors"
    save(path, Checkpoint(network))
    return path, network


def run(folder: Path, *options: object) -> tuple[commands.Done, Path]:
    """No epoch on digits from c.safetensors."""
    out = folder / "out.safetensors"
    how = ("--task", "digits", "--start", folder / "c.safetensors", "--epochs", 0, "--out", out)
    return commands.run(train, *how, *options), out


def network_of(path: Path) -> Network:
    found = load(path).network
    assert isinstance(found, Network)
    return found


def test_the_dropout_is_what_is_asked_for(tmp_path: Path) -> None:
    """It is no part of what the network computes; a network of another width is."""
    stored(tmp_path)
    for asked, expected in (((), (0.0, False)), (("--dropout", 0.25, "--tie-dropout"), (0.25, True))):
        done, out = run(tmp_path, *asked)
        assert done.code == 0, done.stderr
        found = network_of(out)
        assert (found.config.dropout, found.config.tie_dropout) == expected
        assert found.blocks[0].dropout.p == expected[0]


def test_another_width_is_refused(tmp_path: Path) -> None:
    stored(tmp_path)
    done, out = run(tmp_path, "--d-model", 16)
    assert done.code == 2
    assert "its network has d_model 8, and 16 is asked for" in done.stderr
    assert not out.exists()


def test_the_weights_are_the_stored_ones(tmp_path: Path) -> None:
    """No epoch: the same weights, whatever the defaults of the network's options are."""
    _, network = stored(tmp_path, mix="glu", norm="layer")
    done, out = run(tmp_path)
    assert done.code == 0, done.stderr
    found = network_of(out)
    assert dataclasses.replace(found.config, parallel="scan") == dataclasses.replace(network.config, parallel="scan")
    for name, weights in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], weights)


@pytest.mark.parametrize(
    "config", [{"d_output": 256, "readout": "sequence"}, {"model": "pspikessm", "reset": "none", "d_output": 3}]
)
def test_a_new_head(tmp_path: Path, config: dict[str, object]) -> None:
    """Of a network that was trained to say something else: refused, but for a head of the task's own."""
    _, network = stored(tmp_path, **config)
    done, out = run(tmp_path)
    assert done.code == 2
    assert "its network has d_output" in done.stderr
    assert not out.exists()
    done, out = run(tmp_path, "--new-head")
    assert done.code == 0, done.stderr
    found = network_of(out)
    assert (found.config.d_output, found.config.readout) == (10, "mean")
    assert found.head.weight.shape == (10, 8)
    for name, weights in network.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(found.state_dict()[name], weights), name


def test_a_new_head_is_drawn_by_the_seed(tmp_path: Path) -> None:
    """Also where the stored one would have fitted."""
    _, network = stored(tmp_path)
    heads = []
    for seed in (0, 0, 1):
        done, out = run(tmp_path, "--new-head", "--seed", seed)
        assert done.code == 0, done.stderr
        heads.append(network_of(out).head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], network.head.weight)


@pytest.mark.parametrize(
    ("config", "says"), [({"d_input": 3}, "its network has d_input 3, the task 1"), ({"tokens": True}, "has tokens")]
)
def test_a_new_head_wants_the_same_inputs(tmp_path: Path, config: dict[str, object], says: str) -> None:
    stored(tmp_path, **config)
    done, out = run(tmp_path, "--new-head")
    assert done.code == 2
    assert says in done.stderr
    assert not out.exists()


def test_a_new_head_of_no_network(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = commands.run(train, "--task", "digits", "--new-head", "--epochs", 0, "--out", out)
    assert done.code == 2
    assert "--start" in done.stderr
    assert not out.exists()
