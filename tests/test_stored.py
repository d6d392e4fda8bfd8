"""Stored weights become exactly the same numbers in a network, or are refused by name."""

import contextlib
import json
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from test_checkpoint import refused, saved
from test_strip import trained

from convert.strip import strip
from spikestrip.errors import BadInput, Refused
from train.checkpoint import Checkpoint, load, save
from train.folder import RunFolder
from train.neurons import sdn
from train.stored import exact


def changed(tmp_path, **weights):
    _, content = saved(tmp_path)
    return saved(tmp_path, state_dict=content["state_dict"] | weights)[0]


def weight(tmp_path, name="head.weight"):
    return saved(tmp_path)[1]["state_dict"][name]


@pytest.mark.parametrize("imaginary", [0.0, 1.0])
def test_complex_weights_are_refused(tmp_path, imaginary):
    value = weight(tmp_path)
    path = changed(tmp_path, **{"head.weight": torch.complex(value, torch.full_like(value, imaginary))})
    refused(path, "head.weight is complex64", "imaginary")


def test_what_float32_would_round_is_refused(tmp_path):
    value = weight(tmp_path).double()
    for wrong in (value + 1e-12, value.double() * 1e300, torch.full_like(value, 2**24 + 1).long(),
                  torch.full(value.shape, 2**63 - 1, dtype=torch.int64)):  # fmt: skip
        refused(changed(tmp_path, **{"head.weight": wrong}), "head.weight is (float|int)64, which float32 rounds")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_other_types_that_float32_holds_are_the_same_numbers_and_it_is_said(tmp_path, dtype):
    value = torch.randint(0, 2, weight(tmp_path).shape).to(dtype)
    path = changed(tmp_path, **{"head.weight": value})
    with pytest.warns(UserWarning, match=r"ckpt\.pt: head\.weight \(\w+\) kept as float32, the same numbers"):
        network = load(path).network
    assert network.head.weight.dtype == torch.float32
    np.testing.assert_array_equal(network.head.weight.detach().double(), value.double())


def test_all_of_a_network_saved_in_float64_is_the_network(tmp_path):
    network = trained(0)
    save(tmp_path / "ckpt.pt", Checkpoint(network))
    before = strip(load(tmp_path / "ckpt.pt").network).sha256
    save(tmp_path / "double.pt", Checkpoint(network.double()))
    with pytest.warns(UserWarning, match=r"float64\) and \d+ more kept as float32"):
        assert strip(load(tmp_path / "double.pt").network).sha256 == before


def test_weights_that_lie_in_memory_otherwise_are_the_same_network(tmp_path):
    path, content = saved(tmp_path)
    expected = strip(load(path).network).sha256
    weights = content["state_dict"]
    scattered = {
        name: value.mT.contiguous().mT if value.ndim > 1 else torch.stack([value, value], -1)[..., 0]
        for name, value in weights.items()
    }
    assert not any(value.is_contiguous() for value in scattered.values() if value.ndim)
    network = load(saved(tmp_path, state_dict=scattered)[0]).network
    assert strip(network).sha256 == expected
    save(tmp_path / "again.safetensors", Checkpoint(network))
    assert strip(load(tmp_path / "again.safetensors").network).sha256 == expected


def test_weights_that_share_memory_are_saved(tmp_path):
    network = trained(0)
    network.head.bias = torch.nn.Parameter(network.head.weight.detach()[:, 0])
    for name in ("a.pt", "a.safetensors"):
        save(tmp_path / name, Checkpoint(network))
        assert strip(load(tmp_path / name).network).sha256 == strip(network).sha256


def test_sparse_and_quantised_weights_are_refused():
    value = torch.eye(3)
    for other in (value.to_sparse(), torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)):
        with pytest.raises(BadInput, match=r"^here: w is sparse or quantised"):
            exact("here", {"w": other}, {"w": torch.float32})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path, suffix):
    network, path = trained(0), tmp_path / f"ckpt{suffix}"
    save(path, Checkpoint(network, {"name": "digits"}, {"accuracy": 0.5, "history": [{"epoch": 1}]}))
    expected, whole = strip(network).sha256, path.read_bytes()
    rng, accepted = np.random.default_rng(0), 0
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.integers(8))]) + whole[place + 1 :])
        with contextlib.suppress(BadInput):
            again = load(path)
            accepted += 1
            assert strip(again.network).sha256 == expected
            assert (again.task, again.metrics["accuracy"]) == ({"name": "digits"}, 0.5)
    assert accepted < 100  # what a torch zip pads with carries nothing


def test_a_flipped_bit_in_a_weight_names_the_damage(tmp_path):
    path = tmp_path / "ckpt.pt"
    save(path, Checkpoint(trained(0)))
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if "/data/" in entry.filename)
    flipped = bytearray(path.read_bytes())
    names = struct.unpack("<HH", flipped[entry.header_offset + 26 : entry.header_offset + 30])
    flipped[entry.header_offset + 30 + sum(names)] ^= 1
    path.write_bytes(flipped)
    assert torch.load(path, weights_only=True)  # torch itself doesn't look
    refused(path, "damaged", entry.filename)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.toml").write_text("")
    (tmp_path / "run" / "last.pt").write_bytes(flipped)
    with pytest.raises(BadInput, match=r"last\.pt: is damaged"):
        RunFolder(tmp_path / "run", {}).state()
    with pytest.raises(BadInput, match="is damaged"):
        sdn.load(path)


def test_safetensors_without_a_hash_are_read_and_a_false_hash_is_not(tmp_path):
    from safetensors.torch import load_file, save_file

    network, path = trained(0), tmp_path / "ckpt.safetensors"
    save(path, Checkpoint(network))
    content = load_file(path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["spikestrip"])
    assert len(header.pop("sha256")) == 64
    save_file(content, path, {"spikestrip": json.dumps(header)})
    assert strip(load(path).network).sha256 == strip(network).sha256
    header["config"]["tau"] = 0.13
    for stated in ("0" * 64, 3):
        save_file(content, path, {"spikestrip": json.dumps(header | {"sha256": stated})})
        refused(path, "is damaged", "hash")


def test_a_surrogate_is_held_to_the_same(tmp_path):
    surrogate = sdn.shipped("hard", 0.125)
    for name in ("sdn.pt", "sdn.safetensors"):
        surrogate.save(tmp_path / name)
        again = sdn.load(tmp_path / name)
        assert all(torch.equal(value, again.content["state_dict"][key])
                   for key, value in surrogate.content["state_dict"].items())  # fmt: skip
    content = surrogate.content
    for wrong in (content["state_dict"]["w1"].double() + 1e-12, content["state_dict"]["w1"].to(torch.complex64)):
        torch.save(content | {"state_dict": content["state_dict"] | {"w1": wrong}}, tmp_path / "sdn.pt")
        with pytest.raises(BadInput, match=r"sdn\.pt: w1 is (float64, which|complex64)"):
            sdn.load(tmp_path / "sdn.pt")


def test_a_surrogate_first_loaded_by_an_evaluation_can_be_trained_with():
    sdn.shipped.cache_clear()
    with torch.inference_mode():
        loaded = sdn.shipped("hard", 0.125)
    assert not any(value.is_inference() for value in loaded.network.state_dict().values())


def test_stripping_a_float64_network_keeps_its_numbers():
    network = trained(0).double()
    narrow = strip(network)
    assert narrow.sha256 == strip(trained(0)).sha256  # the same numbers in a wider type
    with torch.no_grad():
        network.encoder.weight += 1e-12
        network.blocks[0].ssm.D += 1e-12
    encoder, ssm = (strip(network).layers[place].operation for place in (0, 1))
    np.testing.assert_array_equal(encoder.weight, network.encoder.weight.detach())
    np.testing.assert_array_equal(ssm.d, network.blocks[0].ssm.D.detach())
    network.encoder.weight = torch.nn.Parameter(network.encoder.weight.detach() + 1j)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Refused, match=r"encoder\.weight: is complex"):
            strip(network)
