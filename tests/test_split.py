"""A network in two parts, a spiking state-space model on the host and the rest on a Speck: together the whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import commands
import numpy as np
import pytest

import spikestrip as ss
from deploy.fit import command as fit_command
from deploy.fitting import chip as chips
from deploy.fitting.split import Split, handed_over, longest, split
from deploy.quantize import command
from spikestrip.errors import BadInput, Refused, SpikestripError
from spikestrip.operations import LIF, S4D, Affine, Join, MultiSpikeIF
from spikestrip.program import INPUT, Layer, Program

ZOO = Path(__file__).parent.parent / "zoo"
CHIP = chips.read("speck2f")


def network(seed: int = 0) -> Program:
    """Encoder -> S4D -> leaky neurons | -> two layers that a Speck can hold, the first sending several spikes."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0.3, 0.7, shape).astype(np.float32)

    decay, angle = rng.uniform(0.7, 0.95, (4, 6)), rng.uniform(0, 3, (4, 6))
    four = [rng.normal(0, 0.8, (4, 6)) for _ in range(4)]
    ssm = S4D(decay * np.cos(angle), decay * np.sin(angle), *four, rng.normal(size=6).astype(np.float32))
    one = np.ones(8)
    layers = [
        Layer("n00_encoder", Affine(weights(6, 2), weights(6)), (INPUT,)),
        Layer("n01_ssm", ssm, ("n00_encoder",)),
        Layer("n02_spike", LIF(np.full(6, 0.5), np.ones(6)), ("n01_ssm",)),
        Layer("n03_mix", Affine(weights(8, 6)), ("n02_spike",)),
        Layer("n04_spike", MultiSpikeIF(one, -one), ("n03_mix",)),
        Layer("n05_mix", Affine(weights(3, 8)), ("n04_spike",)),
        Layer("n06_spike", LIF(np.ones(3), np.ones(3), reset_kind="soft"), ("n05_mix",)),
    ]
    return Program((2,), tuple(layers), "n06_spike", "count")


def inputs(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 50, 2)).astype(np.float32)


def test_the_longest_part_that_fits_begins_behind_the_leaky_neurons() -> None:
    parts = longest(network(), CHIP)
    assert parts.cut == "n02_spike"
    assert [layer.name for layer in parts.host.layers] == ["n00_encoder", "n01_ssm", "n02_spike"]
    assert [layer.name for layer in parts.chip.layers] == ["n03_mix", "n04_spike", "n05_mix", "n06_spike"]
    assert parts.chip.input_shape == (6,)
    assert parts.chip.readout == "count"


@pytest.mark.parametrize("cut", ["n02_spike", "n04_spike"])
def test_one_after_the_other_is_the_whole(cut: str) -> None:
    program, x = network(), inputs()
    parts = split(program, cut)
    whole = ss.simulate(program, x)
    host = ss.simulate(parts.host, x)
    chip = ss.simulate(parts.chip, host.output)
    np.testing.assert_array_equal(chip.output, whole.output)
    assert whole.output.sum() > 0
    np.testing.assert_array_equal(handed_over(program, parts, x), host.output)
    assert host.output.max() >= (2 if cut == "n04_spike" else 1)


@pytest.mark.parametrize("part", ["host", "chip"])
def test_parts_of_another_network_are_found_out(part: str) -> None:
    program, other = network(), network(seed=5)
    parts = split(program, "n02_spike")
    wrong: Split = dataclasses.replace(parts, **{part: getattr(split(other, "n02_spike"), part)})
    with pytest.raises(SpikestripError, match="differ from the whole in spikes of"):
        handed_over(program, wrong, inputs())


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ("n09", "is no layer"),
        ("n01_ssm", "sends values"),
        ("n06_spike", "is the output"),
        ("n04_spike", "n05_join reads n02_spike past n04_spike"),
    ],
)
def test_what_is_no_cut(cut: str, says: str) -> None:
    program = network()
    if "join" in says:
        around = Layer("n04_wide", Affine(np.ones((8, 6), np.float32)), ("n02_spike",))
        join = Layer("n05_join", Join(), ("n04_spike", "n04_wide"))
        layers = [*program.layers[:5], around, join, *program.layers[5:]]
        layers[7] = dataclasses.replace(layers[7], inputs=("n05_join",))
        program = dataclasses.replace(program, layers=tuple(layers))
        says = says.replace("n02_spike", "n04_wide")
    with pytest.raises(BadInput, match=says):
        split(program, cut)


def test_a_network_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(Refused, match="no part of the network fits"):
        longest(ss.load(ZOO / "smnist.safetensors"), CHIP)


def test_the_commands(tmp_path: Path) -> None:
    program, x = network(), inputs()
    ss.save(program, tmp_path / "m.nir")
    np.save(tmp_path / "x.npy", x)
    asked = (tmp_path / "m.nir", "--chip", "speck2f")
    said = commands.run(fit_command, *asked)
    assert said.code == 1
    assert "quantize --cut n02_spike" in " ".join(said.stdout.split())
    assert commands.run(command, *asked, "--cut", "longest").code == 2  # without --calibrate
    assert commands.run(command, *asked, "--cut", "n01_ssm", "--calibrate", tmp_path / "x.npy").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.nir", "x.npy"]
    done = commands.run(command, *asked, "--cut", "longest", "--calibrate", tmp_path / "x.npy")
    assert done.code == 0, done.stderr + done.stdout
    assert "cut behind n02_spike: 3 layers on the host, 4 on the chip" in " ".join(done.stdout.split())
    host, chip = ss.load(tmp_path / "m.q.host.nir"), ss.load(tmp_path / "m.q.nir")
    sent = ss.simulate(host, x).output
    np.testing.assert_array_equal(sent, ss.simulate(split(program, "n02_spike").host, x).output)
    mine, theirs = ss.simulate(chip, sent), ss.simulate(chip, sent, "speck")
    np.testing.assert_array_equal(mine.output, theirs.output)
    np.testing.assert_array_equal(mine.numbers["n04_spike"], theirs.numbers["n04_spike"])
    assert mine.output.sum() > 0
