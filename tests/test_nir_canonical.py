"""Canonical NIR files: stock nir.read takes them, their standard nodes alone reproduce every spike, and back is the
identity."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import h5py
import nir
import nir_interpreter
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import dyadic, gaussian, grid, network, recurrent, runs

from convert.formats.nir.reading import Rules, read, reading
from convert.formats.nir.writing import graph, write
from convert.formats.nir.writing.names import renamed
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import (
    GLU,
    LIF,
    S4D,
    Affine,
    Conv1d,
    Conv2d,
    Join,
    LayerNorm,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
)
from spikestrip.program import Layer, Program, chain

ONES = np.ones(3)
VERSION_1 = Path(__file__).parent / "data" / "canonical-version-1" / "model.nir"


def spikes_of(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    return NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).spikes


def assert_same_spikes(program: Program, found: nir.NIRGraph, x: np.ndarray) -> int:
    """Compare each sample of x (B, T, C) with the interpreter; returns the number of spikes."""
    ours = spikes_of(program, x)
    for sample in range(x.shape[0]):
        theirs = nir_interpreter.run(found, x[sample][:, None])
        for name, train in ours.items():
            np.testing.assert_array_equal(theirs[name].reshape(train[sample].shape), train[sample], err_msg=name)
    return sum(int(train.sum()) for train in ours.values())


@pytest.mark.parametrize("neuron", ["hard", "soft", "refractory"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_standard_nodes_alone_reproduce_every_spike(tmp_path: Path, neuron: str, blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    program = network(rng, hidden=9, modes=5, blocks=blocks, neuron=neuron)
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    assert assert_same_spikes(program, found, gaussian(rng, program, 2, 80)) > 50


def test_mean_readout_accumulates_in_an_integrator(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    program = network(rng, blocks=1)
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    x = gaussian(rng, program, 1, 40)
    assert isinstance(found.nodes[program.output], nir.I)
    assert found.metadata["readout"] == "mean"
    ours = NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).output
    np.testing.assert_allclose(nir_interpreter.run(found, x[0][:, None])["output"][:, 0], ours[0], rtol=1e-12)


def test_recurrent_network_with_gain_bias_and_reset_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    program = recurrent(rng)
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    assert assert_same_spikes(program, found, gaussian(rng, program, 2, 120)) > 100
    assert read(tmp_path / "model.nir").sha256 == program.sha256


@pytest.mark.parametrize("reset_kind", ["hard", "soft"])
def test_recurrence_around_a_nested_neuron(tmp_path: Path, reset_kind: str) -> None:
    rng = np.random.default_rng(8)
    neuron = LIF(rng.uniform(0.2, 0.8, 5), rng.uniform(0.5, 1, 5), gain=rng.uniform(0.5, 2, 5), bias=np.full(5, 0.1),
                 reset_kind=reset_kind)  # fmt: skip
    feedback = Affine(rng.normal(0, 0.5, (5, 5)).astype(np.float32))
    program = Program(
        (5,),
        (Layer("n0_spike", neuron, ("input",), ("n1_back",)), Layer("n1_back", feedback, ("n0_spike",))),
        "n0_spike",
    )
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    assert assert_same_spikes(program, found, gaussian(rng, program, 2, 100)) > 50
    assert read(tmp_path / "model.nir").sha256 == program.sha256


@pytest.mark.parametrize("reset_kind", ["hard", "soft"])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_ties_fire(tmp_path: Path, reset_kind: str, decay: float) -> None:
    neuron = LIF(np.full(3, decay), np.array([0.5, 1.0, 1.5]), reset_kind=reset_kind)
    program = chain((3,), [("n0_spike", neuron)])
    write(program, tmp_path / "model.nir")
    x = np.random.default_rng(0).integers(-1, 4, (2, 60, 3)) / 4
    x[:, 0] = neuron.threshold  # the first potential of every neuron ties
    assert spikes_of(program, x)["n0_spike"][:, 0].all()
    assert_same_spikes(program, nir.read(tmp_path / "model.nir"), x)


@pytest.mark.parametrize("mix", ["linear", "glu"])
def test_what_has_no_body_gives_nan_at_the_output(tmp_path: Path, mix: str) -> None:
    rng = np.random.default_rng(2)
    program = network(rng, mix=mix, norm="layer" if mix == "linear" else None)
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    answer = nir_interpreter.run(found, gaussian(rng, program, 1, 10)[0][:, None])["output"]
    assert np.isnan(answer).all()
    guard = [name for name, node in found.nodes.items() if node.metadata.get("spikestrip_op") == "guard"]
    assert [(a, b) for a, b in found.edges if b == "output"] == [(guard[0], "output")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs())
def test_there_and_back_is_the_identity(tmp_path: Path, run: tuple[Program, np.ndarray]) -> None:
    program, _ = run
    write(program, tmp_path / "model.nir")
    nir.read(tmp_path / "model.nir")
    assert read(tmp_path / "model.nir").sha256 == program.sha256


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs(mix="linear", norm=None))
def test_spikes_of_any_network_without_poison(tmp_path: Path, run: tuple[Program, np.ndarray]) -> None:
    program, x = run
    write(program, tmp_path / "model.nir")
    assert_same_spikes(program, nir.read(tmp_path / "model.nir"), x)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), neuron=st.sampled_from(["hard", "soft", "refractory"]))
def test_ties_of_dyadic_networks(tmp_path: Path, seed: int, neuron: str) -> None:
    rng = np.random.default_rng(seed)
    program = dyadic(rng, neuron=neuron, readout="sequence")
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    assert "ties_may_round" not in found.metadata
    assert_same_spikes(program, found, grid(rng, program, 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["hard", "soft", "refractory", "s4d", "li"]))
def test_ties_of_any_decay_in_sixteenths(tmp_path: Path, seed: int, kind: str) -> None:
    """Seven steps of multiples of 1/16, of both signs: every sum of the program is exact, and many tie."""
    rng = np.random.default_rng(seed)
    size = 6

    def pick(low: int, high: int, *shape: int) -> np.ndarray:
        return rng.integers(low, high, (*shape, size)) / 16

    decay = pick(-31, 16)
    first: list[tuple[str, Operation]] = {
        "hard": [("n0_spike", LIF(decay, pick(1, 17), pick(-4, 4), pick(1, 33), pick(-4, 5)))],
        "soft": [("n0_spike", LIF(decay, pick(1, 17), None, pick(1, 33), pick(-4, 5), reset_kind="soft"))],
        "refractory": [("n0_spike", RefractoryLIF(decay, pick(1, 17), pick(-16, 16), pick(0, 16)))],
        "s4d": [("n0_ssm", S4D(*(pick(-8, 9, 2) for _ in range(6)), pick(-8, 9).astype(np.float32)))],
        "li": [("n0_li", LeakyIntegrator(decay, pick(1, 33), pick(-4, 5)))],
    }[kind]  # type: ignore[assignment]
    program = chain((size,), [*first, ("n1_spike", LIF(np.zeros(size), pick(1, 9)))])
    write(program, tmp_path / "model.nir")
    found = nir.read(tmp_path / "model.nir")
    assert "ties_may_round" not in found.metadata
    assert_same_spikes(program, found, pick(-16, 17, 2, 7))
    assert read(tmp_path / "model.nir").sha256 == program.sha256


def test_a_file_names_the_layers_whose_ties_may_round(tmp_path: Path) -> None:
    """32/49 is far from the float64 nearest to it, and so is 1.1 times the significand of 1 - 0.9 from a float64."""
    decays = {"n0_49": 1 - 49 / 32, "n1_eighths": 3 / 8, "n2_tenths": 0.9, "n3_one": 1.0}
    program = chain((1,), [(name, LIF(np.full(1, decay), np.full(1, 1.1))) for name, decay in decays.items()])
    write(program, tmp_path / "model.nir")
    said = nir.read(tmp_path / "model.nir").metadata["ties_may_round"].split()
    assert {"n0_49", "n2_tenths"} <= {*said} <= {*decays} - {"n3_one"}
    threshold = Fraction(1.1) * Fraction(5, 4)  # 1.1 has 53 bits, and 5/8 of it more
    assert ("n1_eighths" in said) == (Fraction(float(threshold)) != threshold)


def test_leaking_beside_undamped_neurons_have_bodies(tmp_path: Path) -> None:
    """What NIR's LIF can't mix, a loop can."""
    rng = np.random.default_rng(6)
    decay, bias = np.array([1.0, 0.5, 1.0]), np.array([0.25, 0.0, -0.125])
    program = chain(
        (3,),
        [
            ("n0_li", LeakyIntegrator(decay, bias=bias)),
            ("n1_spike", LIF(decay, np.ones(3), bias=bias, reset_kind="soft")),
        ],
    )
    write(program, tmp_path / "model.nir")
    assert assert_same_spikes(program, nir.read(tmp_path / "model.nir"), rng.integers(-4, 6, (2, 30, 3)) / 8) > 10
    assert read(tmp_path / "model.nir").sha256 == program.sha256


def version_1() -> Program:
    """What the file in data/canonical-version-1 holds, drawn as it was."""
    u = np.random.default_rng(0).uniform
    decay, half = np.array([0.25, 0.9, 0.3]), np.full(3, 0.5)
    ssm = S4D(*(u(-0.6, 0.6, (2, 3)) for _ in range(6)), u(0, 1, 3).astype(np.float32))
    hard = LIF(np.array([0.25, 0.9, -0.3]), half / 2, u(0, 0.1, 3), u(1, 2, 3), u(0, 0.1, 3))
    return chain(
        (3,),
        [
            ("n0_ssm", ssm),
            ("n1_hard", hard),
            ("n2_mix", Affine(u(0, 1, (3, 3)).astype(np.float32))),
            ("n3_soft", LIF(decay, half, None, u(1, 2, 3), u(0, 0.1, 3), reset_kind="soft")),
            ("n4_refractory", RefractoryLIF(decay, half, u(0, 0.9, 3), u(0, 0.2, 3))),
            ("n5_li", LeakyIntegrator(decay, u(1, 2, 3), u(0, 0.1, 3))),
        ],
    )


def test_files_of_version_1_are_read_and_held_against_their_own_bodies(tmp_path: Path) -> None:
    assert read(VERSION_1).sha256 == version_1().sha256
    shutil.copy(VERSION_1, tmp_path / "edited.nir")
    with h5py.File(tmp_path / "edited.nir", "r+") as file:
        file["node/nodes/n0_ssm/nodes/n2_state/tau"][...] *= 1 + 1e-9
    with pytest.raises(BadInput, match=r"n0_ssm.*n2_state.*edited"):
        read(tmp_path / "edited.nir")


def test_every_operation_and_option_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ones = np.ones(4)
    program = Program(
        (4,),
        (
            Layer("n00", Affine(rng.normal(size=(4, 4)).astype(np.float32)), ("input",)),
            Layer("n01", LIF(ones, ones, v_reset=-ones, comparison="gt"), ("n00",)),
            Layer("n02", Scale(rng.normal(size=4)), ("n01",)),
            Layer("n03", Join(), ("n00", "n02")),
            Layer("n04", RefractoryLIF(ones / 2, ones, ones / 4, ones / 8, soft=False), ("n03",)),
            Layer("n05", LeakyIntegrator(ones / 3, ones / 7, ones / 9), ("n04",)),
            Layer("n06", LayerNorm(ones.astype(np.float32), ones.astype(np.float32), 1e-3), ("n05",)),
            Layer("n07", GLU(), ("n06",)),
            Layer("n08", LIF(ones[:2] / 2, ones[:2], reset_kind="soft", bias=ones[:2]), ("n07",)),
        ),
        "n08",
    )
    write(program, tmp_path / "model.nir")
    again = read(tmp_path / "model.nir")
    assert again.sha256 == program.sha256
    write(again, tmp_path / "again.nir")
    assert read(tmp_path / "again.nir").sha256 == program.sha256


@pytest.mark.parametrize("neuron", ["hard", "soft", "refractory"])
def test_our_own_bodies_read_as_a_graph_of_others(tmp_path: Path, neuron: str) -> None:
    """Without any metadata, the nested cycles of S4D, soft reset and refractoriness run from their standard nodes."""
    rng = np.random.default_rng(9)
    program = network(rng, neuron=neuron, readout="sequence")
    found = graph(program)
    nested = [node for node in found.nodes.values() if isinstance(node, nir.NIRGraph)]
    for node in [found, *found.nodes.values(), *(inner for outer in nested for inner in outer.nodes.values())]:
        node.metadata = {}
    nir.write(tmp_path / "bare.nir", found)
    result = reading(tmp_path / "bare.nir", Rules(dt=1.0))
    assert not any("ambiguous" in remark for remark in result.remarks)
    x = gaussian(rng, program, 2, 50)
    ours, theirs = (
        NumpyBackend().run(each, steps, "float64", "cpu", lambda done: None).output
        for each, steps in ((program, x), (result.program, x[:, :, None]))
    )
    np.testing.assert_allclose(theirs[:, :, 0], ours, rtol=1e-9, atol=1e-9)


def test_file_survives_stock_nir(tmp_path: Path) -> None:
    """Read and written again by nir itself, the file still is the same program, to the last array."""
    program = network(np.random.default_rng(4), neuron="soft", mix="glu")
    write(program, tmp_path / "model.nir")
    nir.write(tmp_path / "stock.nir", nir.read(tmp_path / "model.nir"))
    assert read(tmp_path / "stock.nir").sha256 == program.sha256
    nir.write(tmp_path / "direct.nir", graph(program))
    assert read(tmp_path / "direct.nir").sha256 == program.sha256


def test_single_precision_parameters_get_exact_bodies(tmp_path: Path) -> None:
    """A decay of float32 0.9 is not 0.9, and 1/(1 - decay) must not be rounded to float32 on the way."""
    decay = np.full(2, 0.9, np.float32)
    program = chain((2,), [("n0_spike", LIF(decay, np.full(2, 0.7, np.float32)))])
    write(program, tmp_path / "model.nir")
    node = nir.read(tmp_path / "model.nir").nodes["n0_spike"]
    np.testing.assert_allclose(1 - 1 / node.tau[0], decay.astype(np.float64), rtol=1e-14)
    assert node.v_threshold.dtype == np.float64
    assert read(tmp_path / "model.nir").sha256 == program.sha256


def test_keys_sort_in_the_order_of_execution(tmp_path: Path) -> None:
    drawn = graph(network(np.random.default_rng(4), neuron="refractory", blocks=2))
    for inner in [drawn, *(node for node in drawn.nodes.values() if isinstance(node, nir.NIRGraph))]:
        names = sorted(inner.nodes)
        assert (names[0], names[-1]) == ("input", "output")
        forward = [(a, b) for a, b in inner.edges if a < b]
        assert {b for _, b in forward} == set(names[1:])


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([Layer("n0", LIF(np.array([0.5, 1.0]), np.ones(2)), ("input",))], "mixes"),
        ([Layer("n0", LIF(np.ones(2), np.ones(2), bias=np.ones(2)), ("input",))], "bias"),
        ([Layer("n0", Join(), ("input", "input"))], "twice"),
        ([Layer("n0", Join(), ("input",), ("input",))], "twice"),
        ([Layer("a", Join(), ("input",)), Layer("n0", Join(), ("input",))], "read by nothing"),
        ([Layer("a", Join(), ("input",), ("a",)), Layer("n0", Join(), ("a",))], "delay"),
        (
            [Layer("a", Join(), ("input",), ("n0",)), Layer("n0", LIF(np.zeros(2), np.ones(2)), ("a",))],
            "delay",
        ),
    ],
)
def test_what_nir_cannot_say_is_refused_and_nothing_written(tmp_path: Path, layers: list[Layer], reason: str) -> None:
    name = layers[-1].name
    with pytest.raises(Refused, match=reason):
        write(Program((2,), tuple(layers), name), tmp_path / "model.nir")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mix", ["linear", "glu"])
def test_names_that_the_file_needs_are_given_back(tmp_path: Path, mix: str) -> None:
    """The output layer is called output, and another as its guard would be."""
    rng = np.random.default_rng(2)
    program = network(rng, mix=mix, norm=None, readout="sequence")
    first = program.layers[0].name
    program = renamed(program, {program.output: "output", first: "output_1_guard"})
    names = write(program, tmp_path / "model.nir")
    assert names == {"output": "output_1", "output_1_guard": "output_1_guard_1"}
    found = nir.read(tmp_path / "model.nir")
    assert read(tmp_path / "model.nir").sha256 == program.sha256
    x = gaussian(rng, program, 1, 20)
    answer = nir_interpreter.run(found, x[0][:, None])["output"][:, 0]
    expected = NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).output[0]
    np.testing.assert_allclose(answer, np.full_like(expected, np.nan) if mix == "glu" else expected, rtol=1e-9)
    with h5py.File(tmp_path / "model.nir", "r+") as file:
        del file["node/metadata/renamed"]
        file["node/metadata/renamed"] = "output=nobody"
    with pytest.raises(BadInput, match=r"'nobody'.*edited"):
        read(tmp_path / "model.nir")


KERNELS: list[tuple[str, dict[str, int], tuple[int, ...], tuple[int, ...]]] = [
    ("depthwise", {"groups": 4}, (4, 1, 3, 3), (4, 7, 6)),
    ("groups of two", {"groups": 2, "stride_y": 2}, (6, 2, 2, 2), (4, 7, 6)),
    ("one row", {}, (5, 4, 1, 3), (4, 7, 6)),
    ("one column", {"dilation_y": 2, "stride_x": 2, "pad_left": 1, "pad_right": 1}, (5, 4, 3, 1), (4, 9, 6)),
    ("causal rows", {"pad_top": 1}, (5, 4, 2, 3), (4, 7, 6)),
    ("uneven", {"pad_top": 1, "pad_right": 1}, (5, 4, 3, 3), (4, 7, 6)),
    ("causal", {"pad_left": 4, "dilation": 2}, (5, 4, 3), (4, 9)),
    ("causal by group", {"pad_left": 3, "groups": 2, "stride": 2}, (4, 2, 4), (4, 9)),
]


@pytest.mark.parametrize(("options", "weight", "shape"), [k[1:] for k in KERNELS], ids=[k[0] for k in KERNELS])
def test_convolutions_that_nir_knows_only_with_zeros(
    tmp_path: Path, options: dict[str, int], weight: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """torch runs the node as NIR has it, without groups; small whole numbers, so that every sum is exact."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    operation = (Conv1d if len(shape) == 2 else Conv2d)(
        rng.integers(-4, 5, weight).astype(np.float32), rng.integers(-4, 5, weight[:1]).astype(np.float32), **options
    )
    program = chain(shape, [("n0_conv", operation), ("n1_join", Join())])
    write(program, tmp_path / "model.nir")
    node = nir.read(tmp_path / "model.nir").nodes["n0_conv"]
    assert node.groups == 1
    x = rng.integers(-4, 5, (1, 1, *shape)).astype(np.float32)
    convolve = torch.nn.functional.conv1d if len(shape) == 2 else torch.nn.functional.conv2d
    arguments = (torch.as_tensor(x[:, 0]), torch.as_tensor(node.weight), torch.as_tensor(node.bias))
    lists = [tuple(np.atleast_1d(value).tolist()) for value in (node.stride, node.padding, node.dilation)]
    theirs = convolve(*arguments, *lists).numpy()
    ours = NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).output[:, 0]
    np.testing.assert_array_equal(theirs, ours)
    assert read(tmp_path / "model.nir").sha256 == program.sha256


def test_a_kernel_that_no_square_holds_is_refused_with_the_way_out(tmp_path: Path) -> None:
    operation = Conv2d(np.ones((2, 1, 2, 3), np.float32), None)
    with pytest.raises(Refused, match=r"n0_conv: .*all even or all odd"):
        write(chain((1, 5, 5), [("n0_conv", operation)]), tmp_path / "model.nir")


def test_folder_as_output(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="folder"):
        write(network(np.random.default_rng(0)), tmp_path)
