"""lava-dl's NetX files: the integers of Lava's LIF, written out here, and refusals that name the layer.

The files are made here as slayer's export_hdf5 writes them; lava-dl itself does not install beside this torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from commands import run as run_command

import spikestrip as ss
from convert.to_nir import command as to_nir
from simulators.run import simulate
from spikestrip.errors import BadInput
from spikestrip.operations import FixedAffine

STEPS = 40
CUBA = {"type": "CUBA", "iDecay": 4096, "vDecay": 700, "vThMant": 20, "refDelay": 1, "gradedSpike": False}


def write(path: Path, *layers: dict[str, Any]) -> Path:
    """As slayer.block's export_hdf5: the type as S10 of one, numbers as data sets, weights in float32."""
    with h5py.File(path, "w") as file:
        for place, layer in enumerate(layers):
            group = file.create_group(f"layer/{place}")
            for name, value in layer.items():
                if name == "type":
                    group.create_dataset("type", (1,), "S10", [value.encode("ascii")])
                elif name == "neuron":
                    for field, held in value.items():
                        group.create_dataset(f"neuron/{field}", data=held)
                else:
                    group.create_dataset(name, data=value)
    return path


def lif(current: np.ndarray, neuron: dict[str, Any], bias: np.ndarray | int = 0) -> np.ndarray:
    """Stock LIF on (T, N) whole numbers, as Lava's PyLifModelBitAcc says it: one loop over Python integers."""
    spikes = np.zeros(current.shape, int)
    bias = np.broadcast_to(bias, current.shape[1:])
    for n in np.ndindex(current.shape[1:]):
        u = v = 0
        for t in range(len(current)):
            u = (1 if u >= 0 else -1) * (abs(u * (4096 - neuron["iDecay"])) >> 12) + (int(current[t][n]) << 6)
            v = (1 if v >= 0 else -1) * (abs(v * (4096 - neuron["vDecay"])) >> 12) + u + (int(bias[n]) << 6)
            if v > neuron["vThMant"] << 6:
                spikes[t][n], v = 1, 0
    return spikes


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """x: (T, ...), the output (T, ...)."""
    return simulate(ss.load(path), x[None].astype(np.float32), dtype="float64").output[0]


@pytest.mark.parametrize("decay", [4096, 1024, 1])
@pytest.mark.parametrize("largest", [20, 127, 255])
def test_dense_layers(tmp_path: Path, decay: int, largest: int) -> None:
    """Odd weights of mixed signs take two words of 8 bits; nothing is rounded."""
    rng = np.random.default_rng(decay + largest)
    first, second = rng.integers(-largest, largest, (6, 5)), rng.integers(-largest // 2, largest, (3, 6))
    neuron = CUBA | {"iDecay": decay, "vThMant": largest}
    bias = rng.integers(-20, 40, 6)
    path = write(
        tmp_path / "m.net",
        {"type": "dense", "shape": [6], "weight": first.astype(np.float32), "neuron": neuron, "bias": bias},
        {"type": "dense", "shape": [3, 1, 1], "weight": second.astype(np.float32), "neuron": neuron},
    )
    x = rng.integers(0, 2, (STEPS, 5))
    expected = lif(lif(x @ first.T, neuron, bias) @ second.T, neuron)
    assert np.array_equal(run(path, x), expected)
    assert 0 < expected.sum() < expected.size


def test_convolutions_from_an_image(tmp_path: Path) -> None:
    """As tiny.net: the input's neurons take the image as their bias, a conv with a bias for each channel, a flatten."""
    rng = np.random.default_rng(1)
    weight, dense = rng.integers(-9, 10, (4, 2, 3, 3)), rng.integers(-8, 9, (3, 4 * 3 * 2))
    bias = rng.integers(-4, 14, 4)
    path = write(
        tmp_path / "m.net",
        {"type": "input", "shape": [2, 7, 6], "weight": [36.0], "bias": [34.0], "neuron": CUBA | {"type": "LOIHI"}},
        {
            **{"type": "conv", "shape": [4, 3, 2], "weight": weight[..., None].astype(np.float32), "neuron": CUBA},
            **{"stride": [2, 2], "padding": [0, 0], "dilation": 1, "groups": 1, "bias": bias.astype(np.float32)},
        },
        {"type": "flatten", "shape": [24, 1, 1]},
        {"type": "dense", "shape": [3, 1, 1], "weight": dense.astype(np.float32), "neuron": CUBA},
    )
    with pytest.warns(UserWarning, match=r"int\(72\*x - 36 \+ 34\)"):
        program = ss.load(path)
    image = np.repeat(rng.integers(-5, 40, (1, 2, 7, 6)), STEPS, axis=0)
    seen = torch.from_numpy(lif(image, CUBA)).double()
    conv = torch.nn.functional.conv2d(seen, torch.from_numpy(weight).double(), stride=2).long().numpy()
    hidden = lif(conv, CUBA, np.broadcast_to(bias[:, None, None], (4, 3, 2))).reshape(STEPS, -1)
    expected = lif(hidden @ dense.T, CUBA)
    assert np.array_equal(simulate(program, image[None].astype(np.float32), dtype="float64").output[0], expected)
    assert expected.sum() > 10


def test_delays_and_recurrence(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    first, back, second = rng.integers(-40, 80, (4, 5)), rng.integers(-30, 30, (4, 4)), rng.integers(-90, 90, (3, 4))
    delays = np.array([0, 3, 1])
    path = write(
        tmp_path / "m.net",
        {"type": "dense_rec", "shape": [4], "weight": first, "weight_rec": back, "neuron": CUBA},
        {"type": "dense", "shape": [3], "weight": second, "delay": delays.astype(np.float32), "neuron": CUBA},
    )
    x = rng.integers(0, 2, (STEPS, 5))
    hidden = np.zeros((STEPS, 4), int)
    v = [0] * 4
    for t in range(STEPS):
        for n in range(4):
            current = int(first[n] @ x[t]) + (int(back[n] @ hidden[t - 1]) if t else 0)
            v[n] = (1 if v[n] >= 0 else -1) * (abs(v[n] * (4096 - 700)) >> 12) + (current << 6)
            if v[n] > 20 << 6:
                hidden[t, n], v[n] = 1, 0
    current = hidden @ second.T
    late = np.stack([np.concatenate([np.zeros(d, int), current[: STEPS - d, n]]) for n, d in enumerate(delays)], axis=1)
    expected = lif(late, CUBA)
    assert np.array_equal(run(path, x), expected)
    assert hidden.sum() > 20 < expected.sum()


DENSE = {"type": "dense", "shape": [2], "weight": np.ones((2, 3)), "neuron": CUBA}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([DENSE | {"type": "pool"}], "layer 0: is a 'pool'; input, dense"),
        ([DENSE | {"type": "average"}], "layer 0: is a 'average'"),
        ([DENSE | {"neuron": CUBA | {"type": "SDNN"}}], "layer 0, neuron: is a 'SDNN'"),
        ([DENSE | {"neuron": CUBA | {"type": "RF_PHASE"}}], "layer 0, neuron: is a 'RF_PHASE'"),
        ([DENSE | {"neuron": CUBA | {"refDelay": 3}}], "refDelay 3"),
        ([DENSE | {"neuron": CUBA | {"gradedSpike": True}}], "gradedSpike 1"),
        ([DENSE | {"neuron": CUBA | {"iDecay": 0}}], "iDecay 0, not one of 1..4096"),
        ([DENSE | {"neuron": CUBA | {"vDecay": 4096}}], "dv 4096"),
        ([DENSE | {"neuron": CUBA | {"vThMant": [3, 4]}}], "vThMant holds 2 numbers"),
        ([{name: value for name, value in DENSE.items() if name != "neuron"}], "has no neuron"),
        ([DENSE | {"weight": np.array([[300, -1, 0], [0, 0, 0]])}], "beyond 8 bits"),
        ([DENSE | {"weight": np.full((2, 3), 0.5)}], "no whole number"),
        ([DENSE | {"weight": np.full((2, 3), np.nan)}], "no whole number"),
        ([DENSE | {"weight": np.ones(5)}], r"weight of shape \(5,\) doesn't fit 2 neurons"),
        ([DENSE | {"delay": np.full(2, 70)}], "not of 0..62"),
        ([DENSE | {"bias": np.full(2, 5000)}], "13 bits"),
        ([DENSE, DENSE], "layer 1: .*shape"),
        ([DENSE | {"type": "conv"}], "layer 0: is the first layer"),
        ([{"type": "input", "shape": [4, 4, 4]}, DENSE | {"weight": np.ones((2, 64))}], "no flatten layer"),
        (
            [
                {"type": "input", "shape": [1, 4, 4]},
                {"type": "conv", "shape": [1, 9, 9], "weight": np.ones((1, 1, 2, 2)), "stride": 1, "padding": 0}
                | {"dilation": 1, "neuron": CUBA},
            ],
            r"layer 1: makes \(1, 3, 3\) of what enters, and states \(1, 9, 9\)",
        ),
        ([{"type": "flatten", "shape": [3, 1, 1]}], "layer 0: flattens"),
        ([{"type": "input", "shape": [3]}], "holds no layer that computes"),
        ([{"type": "input", "shape": [1 << 20, 1 << 20]}], "has the shape"),
    ],
)
def test_refused_by_layer(tmp_path: Path, layers: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ss.load(write(tmp_path / "m.net", *layers))


def test_commands_take_it(tmp_path: Path) -> None:
    path = write(tmp_path / "m.net", DENSE)
    done = run_command(to_nir, path)
    assert done.code == 0, done.stderr
    program = ss.load(tmp_path / "m.nir")
    assert program.sha256 == ss.load(path).sha256
    assert isinstance(program.layers[0].operation, FixedAffine)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.net").write_bytes(b"no HDF5")
    with pytest.raises(BadInput, match=r"a\.net"):
        ss.load(tmp_path / "a.net")
    with h5py.File(tmp_path / "b.net", "w") as file:
        file["layer/7/type"] = "dense"
    with pytest.raises(BadInput, match="has layers 7, not 0 to 0"):
        ss.load(tmp_path / "b.net")
