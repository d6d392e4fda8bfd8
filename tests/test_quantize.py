"""Lowering to Loihi 2's integers: what is chosen, what it costs, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import commands
import numpy as np
import pytest
from programs import network

from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from convert.lowering.loihi2 import Words, loihi2
from deploy.quantize import command
from deploy.verify import verify
from simulators.run import simulate
from spikestrip.errors import Refused
from spikestrip.operations import LIF, FixedLIF, FixedS4D
from spikestrip.operations.fixed.rounding import value, words
from spikestrip.program import Program

KINDS = {"neuron": "hard", "mix": "linear", "norm": None, "readout": "mean"}


def float_network(seed: int = 3, **changed: object) -> Program:
    """Two blocks, with one decay in each layer as stock LIF has it."""
    rng = np.random.default_rng(seed)
    program = network(rng, **{**KINDS, "inputs": 2, "hidden": 8, "modes": 4, "blocks": 2, "classes": 3, **changed})
    layers = []
    for layer in program.layers:
        operation = layer.operation
        if isinstance(operation, LIF):
            operation = dataclasses.replace(operation, decay=np.full_like(operation.decay, 0.125))
        layers.append(dataclasses.replace(layer, operation=operation))
    return dataclasses.replace(program, layers=tuple(layers))


def test_words_are_the_nearest() -> None:
    """Each word is at most half of an even number's step off what is left, and two hold 15 bits."""
    values = np.random.default_rng(0).normal(size=(6, 7))
    for count in (1, 2, 3):
        made, exponent = words(values, count)
        step = 2.0 ** (int(exponent[-1]) + 1)
        assert np.abs(value(made, exponent) - values).max() <= step
        assert np.abs(made).max() <= 254
        assert not (made % 2).any()
    assert np.abs(value(*words(values, 2)) - values).max() < 2.0**-13 * np.abs(values).max()


def test_more_words_are_nearer() -> None:
    """The spikes that differ from float, on the lowering's own input, fall with the words; none falls silently out."""
    program = float_network()
    x = np.random.default_rng(8).normal(size=(4, 120, 2)).astype(np.float32)
    reference = simulate(program, x)
    differ = []
    for count in (1, 2, 3):
        lowered = loihi2(program, x, Words(count, count, count)).program
        trace = simulate(lowered, x)
        differ.append(sum(np.count_nonzero(trace.spikes[name] != reference.spikes[name]) for name in trace.spikes))
    assert differ[0] > 4 * differ[1]
    assert differ[1] >= differ[2]


def test_every_difference_has_its_cause() -> None:
    program = float_network()
    x = np.random.default_rng(8).normal(size=(3, 100, 2)).astype(np.float32)
    lowered = loihi2(program, x, Words(1, 1, 1)).program
    reference, trace = simulate(program, x), simulate(lowered, x)
    verdict = verify(reference, trace, program, trace_program=lowered)
    assert verdict.passed
    assert set(verdict.causes) <= {"quantisation", "carried"}
    assert verdict.differ > 0
    name = program.spiking[0].name
    spikes = {**trace.spikes, name: trace.spikes[name].copy()}
    spikes[name][1, 50, 2] ^= 1
    assert not verify(reference, dataclasses.replace(trace, spikes=spikes), program, trace_program=lowered).passed


def test_thresholds_fold_and_names_stay() -> None:
    program = float_network()
    x = np.random.default_rng(8).normal(size=(3, 100, 2)).astype(np.float32)
    lowered = loihi2(program, x).program
    assert [layer.name for layer in lowered.spiking] == [layer.name for layer in program.spiking]
    for layer in lowered.layers:
        if isinstance(layer.operation, FixedLIF):
            assert layer.operation.dv == 3584
        if isinstance(layer.operation, FixedS4D):
            assert all(np.abs(getattr(layer.operation, name)).max() <= 254 for name in ("a_re", "b_im", "c_re", "d"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"neuron": "soft"}, r"\(lif\): loihi2, stock: stock LIF resets to 0 alone"),
        ({"neuron": "refractory"}, r"\(lif_refractory\): loihi2, stock: no stock process"),
        ({"mix": "glu"}, r"\(glu\): loihi2, stock: no stock process"),
        ({"norm": "layer"}, r"\(layer_norm\): loihi2, stock: no stock process"),
    ],
)
def test_what_is_refused(changed: dict[str, str], says: str) -> None:
    with pytest.raises(Refused, match=says):
        loihi2(float_network(**changed), np.zeros((1, 2, 2), np.float32))


def test_several_decays_are_refused() -> None:
    program = float_network()
    layers = [
        dataclasses.replace(layer, operation=dataclasses.replace(layer.operation, decay=np.linspace(0.1, 0.9, 8)))
        if isinstance(layer.operation, LIF)
        else layer
        for layer in program.layers
    ]
    with pytest.raises(Refused, match="one decay"):
        loihi2(dataclasses.replace(program, layers=tuple(layers)), np.zeros((1, 2, 2), np.float32))


def test_the_command(tmp_path: Path) -> None:
    program = float_network()
    model, x = tmp_path / "model.nir", np.random.default_rng(8).normal(size=(3, 60, 2)).astype(np.float32)
    write(program, model)
    np.save(tmp_path / "x.npy", x)
    done = commands.run(command, model, "--chip", "loihi2", "--calibrate", tmp_path / "x.npy")
    assert done.code == 0, done.stderr
    assert read(tmp_path / "model.q.nir").sha256 == loihi2(program, x).program.sha256


def test_the_command_refuses_and_writes_nothing(tmp_path: Path) -> None:
    write(float_network(neuron="soft"), tmp_path / "model.nir")
    done = commands.run(command, tmp_path / "model.nir", "--chip", "loihi2")
    assert done.code == 2
    assert "resets to 0 alone" in done.stderr
    assert not (tmp_path / "model.q.nir").exists()


@pytest.mark.parametrize("chip", ["loihi2", "speck2f"])
def test_calibration_of_zeros_tells_no_range(chip: str, tmp_path: Path) -> None:
    write(float_network(), tmp_path / "model.nir")
    np.save(tmp_path / "zeros.npy", np.zeros((2, 5, 2), np.float32))
    done = commands.run(command, tmp_path / "model.nir", "--chip", chip, "--calibrate", tmp_path / "zeros.npy")
    assert done.code == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'zeros.npy'}: holds nothing but 0")
    assert {file.name for file in tmp_path.iterdir()} == {"model.nir", "zeros.npy"}


@pytest.mark.parametrize(("largest", "fits"), [(2.0**-16, False), (2.0**-15, True), (2.0**45, True), (2.0**46, False)])
def test_an_input_that_no_exponent_reaches_is_refused(largest: float, fits: bool) -> None:
    x = np.full((1, 4, 2), largest, np.float32)
    if fits:
        assert loihi2(float_network(), x).program.layers
    else:
        with pytest.raises(Refused, match="input: loihi2: reaches"):
            loihi2(float_network(), x)
