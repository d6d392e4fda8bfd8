"""A Speck's integers: against sinabs' own discretisation and layers, in every spike and state; what is refused."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import commands
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from convert.lowering.speck import speck
from deploy.fit import command as fit_command
from deploy.quantize import command
from deploy.verify import verify
from simulators.conformance import integers
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    FixedIF,
    Flatten,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    SumPool2d,
)
from spikestrip.program import Program, chain
from train.checkpoint import Checkpoint, save
from train.config import Config
from train.networks import Network

torch = pytest.importorskip("torch")
sl = pytest.importorskip("sinabs.layers")
ZOO = Path(__file__).parent.parent / "zoo"
NEURONS = ("subtract", "reset", "several", "several without floor")


def neuron(kind: str, threshold: float, *shape: int) -> Operation:
    full = np.full(shape, threshold)
    if kind == "several":
        return MultiSpikeIF(full, -full)
    if kind == "several without floor":
        return MultiSpikeIF(full, np.full(shape, -float(np.finfo(np.float32).max)))
    return LIF(np.ones(shape), full, reset_kind="soft" if kind == "subtract" else "hard")


def network(seed: int, kinds: tuple[str, str, str] = ("subtract", "several", "reset"), size: float = 0.5) -> Program:
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0.1, size, shape).astype(np.float32)

    return chain(
        (2, 8, 8),
        [
            ("n00_conv", Conv2d(weights(3, 2, 3, 3), pad_top=1, pad_bottom=1, pad_left=1, pad_right=1)),
            ("n01_spike", neuron(kinds[0], 1.0, 3, 8, 8)),
            ("n02_pool", SumPool2d(2, 2, 2, 2)),
            ("n03_conv", Conv2d(weights(4, 3, 2, 2), stride_y=2, stride_x=2)),
            ("n04_spike", neuron(kinds[1], 0.7, 4, 2, 2)),
            ("n05_flatten", Flatten()),
            ("n06_head", Affine(weights(3, 16))),
            ("n07_spike", neuron(kinds[2], 1.3, 3)),
        ],
    )


def events(seed: int, program: Program, most: int = 1, samples: int = 2, steps: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, most + 1, (samples, steps, *program.input_shape)) * (
        rng.random((samples, steps, *program.input_shape)) < 0.4
    )
    return np.asarray(x, np.float32)


@pytest.fixture(scope="module")
def discretize() -> ModuleType:
    """sinabs' own, loaded by its file: its package would import samna, whose import installs software."""
    path = distribution("sinabs").locate_file("sinabs/backend/dynapcnn/discretize.py")
    spec = importlib.util.spec_from_file_location("sinabs_discretize", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "samna" not in sys.modules
    return module


@pytest.mark.parametrize("seed", range(8))
def test_integers_are_those_of_sinabs(seed: int, discretize: ModuleType) -> None:
    """One convolution and an IAF with its floor at -threshold, discretised by sinabs in float64."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(rng.uniform(-0.5, 0.5), 0.5, (5, 2, 3, 3)).astype(np.float32)
    threshold = float(rng.choice([0.01, 0.7, 1.0, 900.0]))
    shape = (5, 4, 4)
    full = np.full(shape, threshold)
    program = chain((2, 6, 6), [("w", Conv2d(weight)), ("s", MultiSpikeIF(full, -full))])
    conv = torch.nn.Conv2d(2, 5, 3, bias=False).double()
    conv.weight.data = torch.from_numpy(weight.astype(np.float64))
    iaf = sl.IAF(spike_threshold=torch.tensor(threshold, dtype=torch.float64), min_v_mem=-threshold)
    theirs, fires = discretize.discretize_conv_spike(conv, iaf)
    if float(fires.spike_threshold) < 1:
        with pytest.raises(Refused, match="leave it no bits"):
            speck(program)
        return
    lowered = speck(program)
    np.testing.assert_array_equal(lowered.program["w"].operation.weight, theirs.weight.detach().numpy())
    assert lowered.cores[0].threshold == float(fires.spike_threshold)
    assert lowered.cores[0].floor == float(fires.min_v_mem)


def test_a_missing_floor_does_not_make_the_scale(discretize: ModuleType) -> None:
    """min_v_mem=None of sinabs stands for -32768 before scaling: weights below a half become 0. Here it doesn't."""
    weight = np.array([[[[0.3]], [[-0.2]]]], np.float32)
    conv = torch.nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.from_numpy(weight.copy())
    theirs, _ = discretize.discretize_conv_spike(conv, sl.IAF(spike_threshold=1.0))
    assert not theirs.weight.any()
    program = chain((2, 1, 1), [("w", Conv2d(weight)), ("s", neuron("several without floor", 1.0, 1, 1, 1))])
    lowered = speck(program)
    assert lowered.program["w"].operation.weight.ravel().tolist() == [127, -85]  # 127 / 0.3 * -0.2 = -84.67
    assert (lowered.cores[0].threshold, lowered.cores[0].floor) == (423, -32768)  # 127 / 0.3 = 423.3


def test_halves_go_to_the_even_number() -> None:
    weight = np.array([[127, 2.5, 3.5, -0.5, 0.25, 0]], np.float32)
    lowered = speck(chain((6,), [("w", Affine(weight)), ("s", neuron("reset", 2.0, 1))]))
    assert lowered.program["w"].operation.weight.tolist() == [[127, 2, 4, 0, 0, 0]]
    assert (lowered.cores[0].scale, lowered.cores[0].weights, lowered.cores[0].zeroed) == (1.0, 5, 2)


def test_thresholds_of_channels_go_into_their_weights() -> None:
    """Threshold 2 with a weight of 1 is threshold 4 with one of 2; the mean of four pixels is a sum of quarters."""
    weight = np.array([[[[1.0]]], [[[1.0]]]], np.float32)
    thresholds = np.array([2.0, 4.0]).reshape(2, 1, 1)
    program = chain((1, 2, 2), [
        ("pool", AvgPool2d(2, 2, 2, 2)), ("w", Conv2d(weight)), ("s", LIF(np.ones((2, 1, 1)), thresholds)),
    ])  # fmt: skip
    lowered = speck(program)
    assert lowered.program["w"].operation.weight.ravel().tolist() == [127, 64]  # 63.5 to even
    assert lowered.cores[0].scale == 254  # 127 / (1/4 * 4/2)
    assert lowered.cores[0].threshold == 1016  # 4 * 254
    assert type(lowered.program["pool"].operation) is SumPool2d


def states(program: Program, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """In numpy, step by step: what every neuron sent, (B, T, N), and the potentials at the end."""
    stepper, sent = Stepper(program, len(x)), {}
    for t in range(x.shape[1]):
        streams = stepper.step(x[:, t].astype(np.float64))
        for layer in program.layers:
            if layer.operation.kind in ("fixed_if", "if_several"):
                sent.setdefault(layer.name, []).append(streams[layer.name].reshape(len(x), -1))
    ends = {name: stepper.state[name]["u"] for name in sent}
    return {name: np.stack(trains, axis=1) for name, trains in sent.items()}, ends


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**20),
    st.tuples(*[st.sampled_from(NEURONS)] * 3),
    st.sampled_from([0.05, 0.5, 3.0]),
    st.sampled_from([1, 5, 400]),
)
def test_numpy_is_sinabs_layers(seed: int, kinds: tuple[str, str, str], size: float, most: int) -> None:
    """Every spike, number of spikes and potential: a run of t steps ends in the states of step t."""
    from simulators.backends.speck import SpeckBackend

    program = speck(network(seed, kinds, size)).program
    x = events(seed, program, most, steps=12)
    sent, _ = states(program, x)
    backend = SpeckBackend()
    for steps in (1, 5, 12):
        recording = backend.run(program, x[:, :steps], "float64", "cpu", lambda n: None)
        _, ends = states(program, x[:, :steps])
        for name, u in ends.items():
            np.testing.assert_array_equal(recording.states[name]["u"], u)
    for name, train in recording.spikes.items():
        np.testing.assert_array_equal(train, sent[name])
    np.testing.assert_array_equal(recording.output.reshape(2, 12, -1), sent["n07_spike"])


@pytest.mark.parametrize("soft", [True, False])
def test_the_ends_of_a_membrane(soft: bool) -> None:
    """In Python's integers: 16 bits, both ends reached and counted, in numpy and in sinabs' layer."""
    from simulators.backends.speck import SpeckBackend

    weight = np.array([[127, -128]], np.float32)
    program = chain((2,), [("w", Affine(weight)), ("s", FixedIF(32000, soft))])
    x = np.random.default_rng(0).integers(0, 300, (1, 200, 2)).astype(np.float32)
    x[0, :50, 1] = 0
    x[0, 120:, 0] = 0
    u, fired, clipped = 0, [], []
    for positive, negative in x[0].astype(int).tolist():
        raw = u + 127 * positive - 128 * negative
        potential = min(max(raw, -32768), 32767)
        fired.append(int(potential >= 32000))
        clipped.append(int(raw != potential))
        u = (potential - 32000 if soft else 0) if fired[-1] else potential
    trace = simulate(program, x)
    assert trace.spikes["s"].ravel().tolist() == fired
    assert trace.events["s"]["saturations"].ravel().tolist() == clipped
    assert u == -32768
    assert sum(clipped[:50]) > 0
    recording = SpeckBackend().run(program, x, "float64", "cpu", lambda n: None)
    assert recording.spikes["s"].ravel().tolist() == fired
    assert recording.states["s"]["u"].tolist() == [[u]]


def test_verify_excuses_nothing_in_integers() -> None:
    """Whole numbers don't round: behind convolutions too a bound is known, 0, and a flipped spike is a fault."""
    program = network(1, ("subtract", "reset", "reset"))
    lowered = speck(program).program
    x = events(1, program, most=3, steps=60)
    reference, trace = simulate(program, x), simulate(lowered, x)
    verdict = verify(reference, trace, program, trace_program=lowered)
    assert verdict.passed, verdict.failures
    assert verdict.differ > 0
    assert not any("no rounding bound" in note for note in verdict.notes)
    assert set(verdict.causes) <= {"quantisation", "carried"}
    for name in trace.spikes:
        spikes = {**trace.spikes, name: trace.spikes[name].copy()}
        spikes[name][1, 50, 2] ^= 1
        trace.spikes, kept = spikes, trace.spikes
        assert not verify(reference, trace, program, trace_program=lowered).passed, name
        trace.spikes = kept


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (chain((2,), [("w", Affine(np.eye(2, dtype=np.float32)))]), "no integrate-and-fire neurons stand behind"),
        (chain((2,), [("s", neuron("reset", 1.0, 2))]), "must stand right before it"),
        (
            chain((2,), [("w", Affine(np.eye(2, dtype=np.float32), np.ones(2, np.float32))),
                         ("s", neuron("reset", 1.0, 2))]),
            "a core's own clock",
        ),
        (
            chain((2,), [("w", Affine(np.eye(2, dtype=np.float32))), ("s", LIF(np.full(2, 0.5), np.ones(2)))]),
            "leak is a constant",
        ),
        (
            chain((2,), [("w", Affine(np.eye(2, dtype=np.float32))),
                         ("s", MultiSpikeLIF(np.ones(2), -np.ones(2), np.full(2, 0.5)))]),
            "leak is a constant",
        ),
        (
            chain((2,), [("w", Affine(1e6 * np.eye(2, dtype=np.float32))), ("s", neuron("reset", 1.0, 2))]),
            "threshold would be 0",
        ),
        (
            chain((2,), [("w", Affine(np.eye(2, dtype=np.float32))),
                         ("s", LIF(np.ones(2), np.ones(2), comparison="gt"))]),
            "a core fires at it too",
        ),
    ],
)  # fmt: skip
def test_what_has_no_such_integers(program: Program, says: str) -> None:
    with pytest.raises(Refused, match=says):
        speck(program)


def test_the_backend_takes_nothing_else() -> None:
    from simulators.backends.speck import SpeckBackend

    program = network(0)
    with pytest.raises(Refused, match=r"backend speck, layer n00_conv \(conv2d\): has weights that aren't integers"):
        simulate(program, events(0, program), SpeckBackend())
    lowered = speck(program).program
    with pytest.raises(Refused, match="float64"):
        simulate(lowered, events(0, program), SpeckBackend(), dtype="float32")
    with pytest.raises(BadInput, match="aren't numbers of events"):
        simulate(lowered, events(0, program) / 2, SpeckBackend())
    with pytest.raises(Refused, match="none of a core's integer operations"):
        simulate(integers.network(np.random.default_rng(0)), np.zeros((1, 4, 2), np.float32), SpeckBackend())


@pytest.mark.parametrize("kinds", [("subtract", "reset", "reset"), ("several", "several", "several")])
def test_the_command(tmp_path: Path, kinds: tuple[str, str, str]) -> None:
    program = network(2, kinds)
    write(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", events(2, program, most=2))
    done = commands.run(command, tmp_path / "model.nir", "--chip", "speck2f", "--calibrate", tmp_path / "x.npy")
    assert done.code == 0, done.stderr + done.stdout
    written = read(tmp_path / "model.q.nir")
    assert written.sha256 == speck(program).program.sha256
    assert "n07_spike" in done.stdout
    again = commands.run(command, tmp_path / "model.nir", "--chip", "speck2f", "-o", tmp_path / "again.nir")
    assert again.code == 0, again.stderr


def test_the_command_refuses_with_the_reasons_of_fit(tmp_path: Path) -> None:
    done = commands.run(command, ZOO / "smnist.safetensors", "--chip", "speck2f", "-o", tmp_path / "q.nir")
    assert done.code == 2
    assert done.stdout == ""
    for cause in ("state_space: n01_block0_ssm", "leak: n02_block0_spike", "graded: "):
        assert cause in done.stderr
    assert not (tmp_path / "q.nir").exists()


def test_the_published_block_is_refused_with_norm_and_gate_named(tmp_path: Path) -> None:
    """SpikingSSM's own block, LayerNorm and GLU included, by both commands."""
    config = Config(1, 10, d_model=8, d_state=4, layers=2, mix="glu", norm="layer", prenorm=True)
    save(tmp_path / "m.pt", Checkpoint(Network(config).eval()))
    for each in (command, fit_command):
        done = commands.run(each, tmp_path / "m.pt", "--chip", "speck2f")
        said = " ".join((done.stderr + done.stdout).split())
        assert done.code == (2 if each is command else 1)
        assert "n02_block0_ssm" in said  # state space
        assert "n03_block0_spike" in said  # leak
        for graded in ("n01_block0_norm", "n05_block0_gate"):
            assert graded in said
    assert not (tmp_path / "m.q.nir").exists()
