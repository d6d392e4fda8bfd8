"""Events in several orders: where none can matter they give the model by steps, and where one must they differ."""

from __future__ import annotations

from pathlib import Path

import commands
import numpy as np
import pytest

from convert.formats.nir.writing import write
from deploy.orders import command, spread
from simulators.asynchrony import EventDriven, synchronous
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Affine, Conv2d, FixedIF, Flatten, Join, MultiSpikeIF, SumPool2d
from spikestrip.program import INPUT, Layer, Program, chain

ORDERS = ("layer-first", "time-first", "random")


def several(threshold: float, *shape: int) -> MultiSpikeIF:
    return MultiSpikeIF(np.full(shape, threshold), np.full(shape, -threshold))


def branches(seed: int, lowest: int) -> Program:
    """Two branches of convolutions that meet, pooling, a head."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(lowest, 60, shape).astype(np.float32)

    layers = (
        Layer("a_conv", Conv2d(weights(2, 1, 3, 3), pad_top=1, pad_bottom=1, pad_left=1, pad_right=1), (INPUT,)),
        Layer("a_spike", several(90.0, 2, 4, 4), ("a_conv",)),
        Layer("b_conv", Conv2d(weights(2, 2, 1, 1)), ("a_spike",)),
        Layer("b_spike", several(70.0, 2, 4, 4), ("b_conv",)),
        Layer("c_join", Join(), ("a_spike", "b_spike")),
        Layer("d_pool", SumPool2d(2, 2, 2, 2), ("c_join",)),
        Layer("e_flat", Flatten(), ("d_pool",)),
        Layer("f_head", Affine(weights(3, 8)), ("e_flat",)),
        Layer("g_spike", several(200.0, 3), ("f_head",)),
    )
    return Program((1, 4, 4), layers, "g_spike")


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_matters_where_all_weights_excite(order: str) -> None:
    """Sums that only grow, by subtraction: each step sends what the sum holds of the threshold, however it came."""
    program = branches(0, lowest=1)
    x = np.random.default_rng(1).integers(0, 3, (2, 10, 1, 4, 4))
    sent = EventDriven(program).run(x, order, seed=5)
    expected = synchronous(program, x)
    assert expected["g_spike"].max() > 3
    for name, train in expected.items():
        np.testing.assert_array_equal(sent[name], train)


@pytest.mark.parametrize("soft", [True, False])
def test_an_order_that_must_matter(soft: bool) -> None:
    """+2, then -2: it fires on the way. -2, then +2, and in one step: it doesn't."""
    for weights, fires in (([2, -2], 1), ([-2, 2], 0)):
        program = chain((2,), [("w", Affine(np.array([weights], np.float32))), ("s", FixedIF(2, soft))])
        x = np.ones((1, 1, 2), np.float32)
        assert synchronous(program, x)["s"].sum() == 0
        assert EventDriven(program).run(x)["s"].sum() == fires
        drawn = {int(EventDriven(program).run(x, "random", seed)["s"].sum()) for seed in range(12)}
        assert drawn == {0, 1}


def test_single_spikes_are_one_for_each_event() -> None:
    program = chain((1,), [("w", Affine(np.array([[100]], np.float32))), ("s", FixedIF(10))])
    x = np.full((1, 1, 1), 3, np.float32)
    assert synchronous(program, x)["s"].tolist() == [[[1]]]
    assert EventDriven(program).run(x)["s"].tolist() == [[[3]]]


def test_the_membrane_keeps_its_ends_at_every_event() -> None:
    """300 events of -127 end at -32768, and as many of 127 then lead to 5332."""
    weights = np.array([[-127, 127]], np.float32)
    x = np.array([[[300, 0], [0, 300]]], np.float32)
    for threshold, fires in ((5332, 1), (5333, 0)):
        program = chain((2,), [("w", Affine(weights)), ("s", FixedIF(threshold))])
        assert EventDriven(program).run(x)["s"].ravel().tolist() == [0, fires]


def test_a_core_is_the_same_by_layer_and_by_time() -> None:
    """What enters comes in the same order in both, so that the first core can't tell them apart."""
    found = spread(branches(2, lowest=-60), np.random.default_rng(3).integers(0, 3, (3, 8, 1, 4, 4)), seeds=2)
    assert found.orders == ["step by step", "layer-first", "time-first", "random 0", "random 1"]
    np.testing.assert_array_equal(found.sent["a_spike"][1], found.sent["a_spike"][2])
    assert found.undecided("g_spike") > 0
    assert found.apart("g_spike")[0] == 0
    assert found.answers.shape == (5, 3)


def test_what_is_refused() -> None:
    program = branches(0, lowest=1)
    with pytest.raises(BadInput, match="aren't numbers of events"):
        EventDriven(program).run(np.full((1, 1, 1, 4, 4), 0.5))
    with pytest.raises(BadInput, match="not one of layer-first, time-first, random"):
        EventDriven(program).run(np.zeros((1, 1, 1, 4, 4)), "backwards")
    biased = chain((2,), [("w", Affine(np.eye(2, dtype=np.float32), np.ones(2, np.float32))), ("s", FixedIF(3))])
    with pytest.raises(Refused, match="by a clock of its own"):
        EventDriven(biased)
    real = chain((2,), [("w", Affine(np.full((2, 2), 0.5, np.float32))), ("s", several(1.0, 2))])
    with pytest.raises(Refused, match=r"layer w \(affine\): event by event: has weights that aren't integers"):
        EventDriven(real)


def test_the_command(tmp_path: Path) -> None:
    write(branches(2, lowest=-60), tmp_path / "q.nir")
    np.save(tmp_path / "x.npy", np.random.default_rng(3).integers(0, 3, (3, 8, 1, 4, 4)).astype(np.float32))
    done = commands.run(
        command, tmp_path / "q.nir", "--input", tmp_path / "x.npy", "--seeds", 1, "--plot", tmp_path / "orders.png"
    )
    assert done.code == 0, done.stderr
    assert "orders disagree on" in done.stdout
    assert (tmp_path / "orders.png").stat().st_size > 1000
