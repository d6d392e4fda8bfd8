"""Checkpoints: round trip, and every way in which a file can be wrong."""

import copy
import dataclasses
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from test_strip import trained

from convert.strip import strip
from spikestrip.errors import BadInput, Refused
from train.checkpoint import Checkpoint, load, save
from train.neurons import sdn


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_round_trip_gives_the_same_program(tmp_path, suffix):
    network = trained(5, mix="glu", norm="layer")
    path = tmp_path / f"ckpt{suffix}"
    save(path, Checkpoint(network, {"name": "digits"}, {"accuracy": 0.5}))
    again = load(path)
    assert strip(again.network).sha256 == strip(network).sha256
    assert (again.task, again.metrics) == ({"name": "digits"}, {"accuracy": 0.5})
    assert not again.network.training
    assert os.listdir(tmp_path) == [path.name]


def test_loads_without_our_code_and_without_running_any(tmp_path):
    path = tmp_path / "ckpt.pt"
    save(path, Checkpoint(trained(0)))
    plain = torch.load(path, weights_only=True)
    assert (plain["format"], plain["version"]) == ("spikestrip", 1)
    assert plain["config"]["d_model"] == 9


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_network_takes_its_surrogate_along(tmp_path, suffix):
    network = trained(1, parallel="sdn")
    surrogate = copy.deepcopy(sdn.shipped("hard", 0.125))
    surrogate.network.b3 += 0.3  # guesses worse, and otherwise than the shipped one
    network.set_surrogate(surrogate)
    path = tmp_path / f"ckpt{suffix}"
    save(path, Checkpoint(network))
    again = load(path).network
    assert again.sdn is not None
    assert again.sdn.header == surrogate.header
    x = torch.randn(2, 40, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sdn.SurrogateWarning)
        (logits, trains), (expected, _) = again(x), network(x)
        shipped = trained(1, parallel="sdn")(x)[1]
    assert torch.equal(logits, expected)
    assert not torch.equal(trains[0], shipped[0])


def test_a_surrogate_that_is_broken_or_of_another_neuron_is_refused(tmp_path):
    network = trained(0, parallel="sdn")
    with pytest.raises(Refused, match=r"tau 0\.125, not hard, 0\.25"):
        trained(0, tau=0.25).set_surrogate(sdn.shipped("hard", 0.125))
    with pytest.raises(Refused, match="not soft"):
        trained(0, reset="soft").set_surrogate(sdn.shipped("hard", 0.125))
    network.set_surrogate(sdn.shipped("hard", 0.125))
    path = tmp_path / "ckpt.pt"
    save(path, Checkpoint(network))
    content = torch.load(path, weights_only=True)
    weights = content["state_dict"]

    def changed(**changes):
        torch.save(content | changes, path)
        return path

    refused(changed(config=content["config"] | {"tau": 0.25}), "surrogate", r"0\.25")
    refused(changed(surrogate=content["surrogate"] | {"grade": []}), "surrogate", "grade")
    refused(changed(surrogate=3), "surrogate")
    refused(changed(state_dict=weights | {"surrogate.w1": torch.zeros(2)}), "surrogate", "w1")
    refused(changed(state_dict={name: weights[name] for name in weights if name != "surrogate.b1"}), "surrogate", "b1")
    del content["surrogate"]
    refused(changed(), "surrogate")


def saved(tmp_path, **changes):
    path = tmp_path / "ckpt.pt"
    save(path, Checkpoint(trained(0)))
    content = torch.load(path, weights_only=True)
    torch.save(content | changes, path)
    return path, content


def refused(path, *words):
    with pytest.raises(BadInput) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert re.search(word, message), message


def test_truncated_at_any_place(tmp_path):
    path, _ = saved(tmp_path)
    whole = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "spikestrip", "version": 1, "config": Evil()}, "evil.pt")
    refused("evil.pt", "run code")
    with open("plain.pt", "wb") as file:
        pickle.dump(Evil(), file)
    refused("plain.pt")
    assert not os.path.exists("pwned")


def test_foreign_files(tmp_path):
    path = tmp_path / "foreign.pt"
    torch.save({"model": {"layers.0.kernel.weight": torch.zeros(2)}}, path)
    refused(path, "not a Spikestrip checkpoint")
    torch.save(torch.zeros(3), path)
    refused(path, "Tensor")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello", "world")
    refused(path)
    refused(tmp_path / "absent.pt", "no such file")


def test_wrong_version_and_config(tmp_path):
    refused(saved(tmp_path, version=2)[0], "version 2")
    refused(saved(tmp_path, config=[])[0], "config")
    _, content = saved(tmp_path)
    config = content["config"]
    for entry, value, word in [
        ("d_model", 0, "d_model"), ("d_model", "64", "d_model"), ("reset", "reversed", "reset"), ("tau", 2.0, "tau"),
        ("bidirectional", True, "bidirectional"), ("wings", 2, "wings"), ("d_model", 10, "shape"),
    ]:  # fmt: skip
        refused(saved(tmp_path, config=config | {entry: value})[0], word)
    refused(saved(tmp_path, config={name: config[name] for name in config if name != "d_input"})[0], "d_input")


def test_weights_that_are_missing_unknown_misshapen_or_nan(tmp_path):
    _, content = saved(tmp_path)
    weights = content["state_dict"]
    without = {name: value for name, value in weights.items() if name != "encoder.bias"}
    refused(saved(tmp_path, state_dict=without)[0], "encoder.bias")
    refused(saved(tmp_path, state_dict=weights | {"extra": torch.zeros(1)})[0], "extra")
    refused(saved(tmp_path, state_dict=weights | {"head.weight": torch.zeros(1)})[0], "head.weight", "shape")
    refused(saved(tmp_path, state_dict=weights | {"head.weight": 3})[0], "head.weight")
    poisoned = weights["head.weight"].clone()
    poisoned[0, 0] = np.nan
    refused(saved(tmp_path, state_dict=weights | {"head.weight": poisoned})[0], "head.weight", "NaN")


def test_a_failed_write_leaves_nothing(tmp_path):
    network = trained(0)
    with pytest.raises(BadInput, match="can't be written"):
        save(tmp_path / "absent" / "ckpt.pt", Checkpoint(network))
    unpicklable = Checkpoint(network, {"name": lambda: None})
    with pytest.raises(Exception, match="lambda"):
        save(tmp_path / "ckpt.pt", unpicklable)
    assert os.listdir(tmp_path) == []
    assert dataclasses.is_dataclass(unpicklable)
