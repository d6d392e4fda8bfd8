"""Dialect files, read by the stock importer itself, must give our float32 spikes; what it would change is refused."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
from click.testing import CliRunner
from programs import network
from stock_importers import STOCK, stock_sinabs

from convert.formats.nir.reading import reading
from convert.formats.nir.writing import write
from convert.formats.nir.writing.names import renamed
from convert.to_nir import command
from simulators.backends.numpy import NumpyBackend
from simulators.backends.torch import TorchBackend
from spikestrip.errors import Refused
from spikestrip.operations import GLU, LIF, Affine, Join, LeakyIntegrator, Operation, RefractoryLIF, Scale
from spikestrip.program import Layer, Program, chain

torch = pytest.importorskip("torch")


def residual(rng: np.random.Generator, dialect: str, decays: tuple[float, ...] = (0.5,), fine: bool = False) -> Program:
    """Affine -> LIF -> Affine, joined with the first spikes -> LIF -> Affine -> LIF; ``fine``: weights off the grid.

    For Sinabs every weight is >= 0 and thresholds are half as high again as input up to 1 can lift a neuron at once.
    """
    hidden = 6

    def synapse(inputs: int, outputs: int) -> Affine:
        values = rng.integers(-3 if dialect == "snntorch" else 0, 4, (outputs, inputs)) / 4
        if fine:
            values = values * rng.uniform(0.5, 1, values.shape)
        return Affine(values.astype(np.float32), (rng.integers(0, 3, outputs) / 4).astype(np.float32))

    def neuron(before: Affine, more: float = 0.0) -> LIF:
        size = before.weight.shape[0]
        decay = rng.choice(decays, size)
        if dialect == "snntorch":
            return LIF(decay, np.full(size, 0.5))
        lifted = before.weight.sum(axis=1) + before.bias + more
        return LIF(decay, np.floor(4 * lifted / (2 - decay)) / 4 + 0.25, reset_kind="soft")

    first, mix, head = synapse(3, hidden), synapse(hidden, hidden), synapse(hidden, 4)
    return Program(
        (3,),
        (
            Layer("n0_in", first, ("input",)),
            Layer("n1_spike", neuron(first), ("n0_in",)),
            Layer("n2_mix", mix, ("n1_spike",)),
            Layer("n3_join", Join(), ("n1_spike", "n2_mix")),
            Layer("n4_spike", neuron(mix, more=1.0), ("n3_join",)),
            Layer("n5_head", head, ("n4_spike",)),
            Layer("n6_spike", neuron(head), ("n5_head",)),
        ),
        "n6_spike",
    )


def ours(program: Program, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output spikes in float32 and in float64."""
    backend = NumpyBackend()
    return tuple(backend.run(program, x, dtype, "cpu", lambda done: None).output for dtype in ("float32", "float64"))  # type: ignore[return-value, arg-type]


@pytest.mark.parametrize("dialect", STOCK)
@pytest.mark.parametrize("seed", range(6))
def test_dyadic_networks_with_ties(tmp_path: Path, dialect: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = residual(rng, dialect)
    write(program, tmp_path / "model.nir", dialect)
    x = (rng.integers(0, 5, (3, 12, 3)) / 4).astype(np.float32)
    single, double = ours(program, x)
    np.testing.assert_array_equal(single, double)  # the arithmetic is exact
    assert single.any()
    np.testing.assert_array_equal(STOCK[dialect](tmp_path / "model.nir", x), single)
    again = reading(tmp_path / "model.nir").program
    np.testing.assert_array_equal(ours(again, x)[0], single)


@pytest.mark.parametrize("dialect", STOCK)
def test_ties_really_happen_and_fire(tmp_path: Path, dialect: str) -> None:
    neuron = LIF(np.full(2, 0.5), np.full(2, 0.5), reset_kind="hard" if dialect == "snntorch" else "soft")
    program = chain((2,), [("n0_in", Affine(np.eye(2, dtype=np.float32))), ("n1_spike", neuron)])
    write(program, tmp_path / "model.nir", dialect)
    x = np.array([[[0.5, 0.25], [0.0, 0.375], [0.25, 0.25]]], np.float32)
    np.testing.assert_array_equal(STOCK[dialect](tmp_path / "model.nir", x)[0], [[1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize("comparison", ["ge", "gt"])
@pytest.mark.parametrize("dialect", STOCK)
def test_comparison_of_the_program_is_kept(tmp_path: Path, dialect: str, comparison: str) -> None:
    kind = "hard" if dialect == "snntorch" else "soft"
    neuron = LIF(np.full(1, 0.5), np.full(1, 0.5), reset_kind=kind, comparison=comparison)  # type: ignore[arg-type]
    program = chain((1,), [("n0_in", Affine(np.eye(1, dtype=np.float32))), ("n1_spike", neuron)])
    write(program, tmp_path / "model.nir", dialect)
    x = np.array([0.5, 0.25, 0.375, 0.75]).reshape(1, -1, 1).astype(np.float32)
    np.testing.assert_array_equal(STOCK[dialect](tmp_path / "model.nir", x), ours(program, x)[0])


@pytest.mark.parametrize("dialect", STOCK)
def test_arbitrary_decays_and_weights(tmp_path: Path, dialect: str) -> None:
    """Against torch in float32, whose matrix product rounds as the importer's does."""
    rng = np.random.default_rng(7)
    decays = (0.125, 0.1, 0.3, 0.77, 0.9, 0.99) if dialect == "snntorch" else (0.125, 0.25, 0.55, 0.77, 0.9, 0.99)
    program = residual(rng, dialect, decays, fine=True)
    write(program, tmp_path / "model.nir", dialect)
    x = rng.uniform(0, 1, (4, 200, 3)).astype(np.float32)
    mine = TorchBackend().run(program, x, "float32", "cpu", lambda done: None).output
    theirs = STOCK[dialect](tmp_path / "model.nir", x)
    assert mine.mean() > 0.02
    np.testing.assert_array_equal(theirs, mine)


def test_decays_arrive_to_the_last_bit(tmp_path: Path) -> None:
    """The importers' own formulas, in their own float32. Sinabs rounds -1/tau: below 0.5 many decays can't be said."""
    for dialect, kind in (("snntorch", "hard"), ("sinabs", "soft")):
        decays = np.arange(1 if dialect == "snntorch" else 500, 1000) / 1000
        neuron = LIF(decays, np.full(decays.size, 9.0), reset_kind=kind)  # type: ignore[arg-type]
        synapse = Affine(np.eye(decays.size, dtype=np.float32))
        write(chain(decays.shape, [("n0_in", synapse), ("n1_spike", neuron)]), tmp_path / "model.nir", dialect)
        tau = nir.read(tmp_path / "model.nir").nodes["n1_spike"].tau
        if dialect == "snntorch":
            arrived = torch.as_tensor(1 - 1e-4 / tau).to(torch.float32)
        else:
            arrived = torch.exp(-1.0 / torch.as_tensor(tau, dtype=torch.float32))
        np.testing.assert_array_equal(arrived.numpy(), decays.astype(np.float32))


def test_sinabs_states_how_large_the_input_may_be(tmp_path: Path) -> None:
    neuron = LIF(np.full(1, 0.5), np.ones(1), reset_kind="soft")
    program = chain((1,), [("n0_in", Affine(np.full((1, 1), 2.0, np.float32))), ("n1_spike", neuron)])
    write(program, tmp_path / "model.nir", "sinabs")
    bound = nir.read(tmp_path / "model.nir").metadata["max_input"]
    assert bound == pytest.approx(0.75, rel=1e-4)  # 0.5 * 1 + 2 * 0.75 = 2 thresholds
    inside, outside = (np.array([0.45, x]).reshape(1, 2, 1).astype(np.float32) for x in (bound, 0.8))
    np.testing.assert_array_equal(stock_sinabs(tmp_path / "model.nir", inside), ours(program, inside)[0])
    assert stock_sinabs(tmp_path / "model.nir", outside)[0, 1, 0] == 2


ONES = np.ones(2)
EYE = np.eye(2, dtype=np.float32)
REFUSED: list[tuple[str, Operation, str]] = [
    ("snntorch", LIF(ONES / 2, ONES, reset_kind="soft"), "never by subtraction"),
    ("snntorch", LIF(ONES / 2, ONES, v_reset=ONES / 4), "v_reset"),
    ("snntorch", LIF(ONES / 2, ONES, bias=ONES), "v_leak"),
    ("snntorch", LIF(ONES / 2, ONES, gain=ONES / 2), "factor"),
    ("snntorch", LIF(ONES / 2, np.array([1.0, 2.0])), "one positive threshold"),
    ("snntorch", LIF(ONES, ONES), "without leak"),
    ("snntorch", LIF(-ONES / 2, ONES), "clamps"),
    ("snntorch", RefractoryLIF(ONES / 2, ONES, ONES / 2, ONES), "does not run lif_refractory"),
    ("snntorch", Scale(ONES), "does not run scale"),
    ("snntorch", LeakyIntegrator(ONES / 2), "does not run li"),
    ("sinabs", LIF(ONES / 2, ONES), "by subtraction, never"),
    ("sinabs", LIF(ONES, ONES, reset_kind="soft"), "every neuron must leak"),
    ("sinabs", LIF(0 * ONES, ONES, reset_kind="soft"), "between 0 and 1"),
    ("sinabs", LIF(ONES / 10, ONES, reset_kind="soft"), "no tau"),
    ("sinabs", LIF(ONES / 2, -ONES, reset_kind="soft"), "twice its threshold"),
    ("sinabs", GLU(), "drops glu"),
    ("sinabs", Scale(ONES), "drops scale"),
    ("sinabs", LeakyIntegrator(ONES), "must leak"),
]


@pytest.mark.parametrize(("dialect", "operation", "reason"), REFUSED)
def test_what_an_importer_would_change_is_refused_by_name(
    tmp_path: Path, dialect: str, operation: Operation, reason: str
) -> None:
    program = chain((2,), [("n0_in", Affine(EYE)), ("n1_it", operation)])
    with pytest.raises(Refused, match=f"n1_it: .*{reason}"):
        write(program, tmp_path / "model.nir", dialect)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dialect", STOCK)
def test_structures_that_are_refused(tmp_path: Path, dialect: str) -> None:
    def refuse(program: Program, reason: str) -> None:
        with pytest.raises(Refused, match=reason):
            write(program, tmp_path / "model.nir", dialect)

    kind = "hard" if dialect == "snntorch" else "soft"
    lif = LIF(ONES / 2, ONES * 8, reset_kind=kind)  # type: ignore[arg-type]
    first = Layer("a", Affine(EYE), ("input",))
    refuse(network(np.random.default_rng(0)), "n01_block0_ssm: .*no stock importer holds an S4D")
    refuse(Program((2,), (first, Layer("b", Join(), ("a", "input"))), "b"), "join at the output")
    refuse(Program((2,), (first, Layer("b", lif, ("a",), ("c",)), Layer("c", Affine(EYE), ("b",))), "c"), "delayed")
    refuse(Program((2,), (first, Layer("b", lif, ("input",))), "b"), "a: is read by nothing")
    three = (first, Layer("b", Affine(EYE), ("input",)), Layer("c", lif, ("a", "b", "input")))
    refuse(Program((2,), three, "c"), "adds 3 streams")


@pytest.mark.parametrize("dialect", STOCK)
@pytest.mark.parametrize(
    "order", [["z", "y", "x", "w", "b", "a"], ["a", "output", "b", "c", "d", "e"], [f"lif{k}" for k in range(8, 14)]]
)
def test_names_that_importers_would_run_in_another_order(tmp_path: Path, dialect: str, order: list[str]) -> None:
    rng = np.random.default_rng(3)
    program = residual(rng, dialect)
    layers = [layer.name for layer in program.layers if not isinstance(layer.operation, Join)]
    foreign = renamed(program, dict(zip(layers, order, strict=True)))
    names = write(foreign, tmp_path / "model.nir", dialect)
    assert list(names) == order
    assert nir.read(tmp_path / "model.nir").metadata["renamed"] == " ".join(f"{a}={b}" for a, b in names.items())
    x = (rng.integers(0, 5, (3, 12, 3)) / 4).astype(np.float32)
    np.testing.assert_array_equal(STOCK[dialect](tmp_path / "model.nir", x), ours(program, x)[0])
    assert ours(program, x)[0].any()


def test_linear_keeps_its_bias_free_weights(tmp_path: Path) -> None:
    """Sinabs drops nir.Linear without a word, so a layer without bias is written as an Affine of zeros."""
    program = chain((2,), [("n0_in", Affine(EYE)), ("n1_out", LeakyIntegrator(ONES / 2))])
    write(program, tmp_path / "model.nir", "sinabs")
    x = np.ones((1, 3, 2), np.float32)
    np.testing.assert_array_equal(stock_sinabs(tmp_path / "model.nir", x), ours(program, x)[0])


@pytest.mark.parametrize("decay", [0.5, 0.75, 0.9])
def test_sinabs_integrators_are_read_back(tmp_path: Path, decay: float) -> None:
    program = chain((2,), [("n0_in", Affine(EYE)), ("n1_out", LeakyIntegrator(np.full(2, decay)))])
    write(program, tmp_path / "model.nir", "sinabs")
    x = np.random.default_rng(0).integers(-4, 5, (1, 20, 2)).astype(np.float32)
    again = reading(tmp_path / "model.nir").program
    np.testing.assert_allclose(ours(again, x)[1], ours(program, x)[1], rtol=1e-6, atol=1e-6)


def test_command_translates(tmp_path: Path) -> None:
    program = residual(np.random.default_rng(0), "sinabs")
    write(program, tmp_path / "model.nir")
    run = CliRunner().invoke(command, [str(tmp_path / "model.nir"), "--dialect", "sinabs"])
    assert run.exit_code == 0, run.output
    assert "no input exceeds" in run.output
    assert (tmp_path / "model.sinabs.nir").exists()


def test_command_prints_the_new_names(tmp_path: Path) -> None:
    program = residual(np.random.default_rng(0), "snntorch")
    write(renamed(program, {"n0_in": "zero", "n6_spike": "output"}), tmp_path / "model.nir")
    run = CliRunner().invoke(command, [str(tmp_path / "model.nir"), "--dialect", "snntorch"])
    assert run.exit_code == 0, run.output
    assert "zero is written as n0_zero" in run.output
    assert "output is written as n5_output" in run.output
