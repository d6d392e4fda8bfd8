"""What foreign files state beside their equations: loops with a bias, step and reset in metadata, shapes, silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from test_nir_foreign import Nodes, answer, lone, save

from convert.formats.nir.reading import Rules, read, reading
from simulators.checking.checker import check
from spikestrip.errors import BadInput

N = 3
ONES = np.ones(N)


def ends(inputs: int, outputs: int) -> Nodes:
    return {"input": nir.Input(np.array([inputs])), "output": nir.Output(np.array([outputs]))}


def put(path: Path, name: str, value: Any) -> Path:
    """Write over one field of a file: what nir's own classes would not hold."""
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file[name] = value
    return path


def lif(path: Path) -> Path:
    return lone(path, nir.LIF(2e-3 * ONES, ONES, 0 * ONES, 0.05 * ONES, 0 * ONES), (N,))


def loop_spikes(w: np.ndarray, u: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Decay 1/2, threshold 1: the network as its exporter ran it, the bias of the loop there in every step."""
    spikes, v, before = [], np.zeros(N), np.zeros(N)
    for now in x:
        v = v / 2 + w @ now + u @ before + b
        before = (v > 1) * 1.0
        v = v * (1 - before)
        spikes.append(before)
    return np.array(spikes)


def test_a_bias_in_a_loop_enters_in_the_first_step(tmp_path: Path) -> None:
    """Multiples of 1/8: all sums are exact. The loop is an Affine and a Scale, and the Affine is heard outside too."""
    rng = np.random.default_rng(0)
    w, u, outside = (rng.integers(-8, 12, (N, N)) / 8 for _ in range(3))
    b, scale = np.array([0.5, 1.25, 2.0]), np.array([1.0, 2.0, 0.5])
    nodes = ends(N, N) | {
        "fc": nir.Linear(w),
        "lif": nir.LIF(2 * ONES, 2 * ONES, 0 * ONES, ONES, 0 * ONES),
        "rec": nir.Affine(u, b),
        "scale": nir.Scale(scale),
        "head": nir.Linear(outside),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "rec"), ("rec", "scale"), ("scale", "lif"), ("rec", "head")]
    x = rng.integers(-4, 8, (1, 60, N)) / 8
    result = reading(save(tmp_path / "loop.nir", nodes, [*edges, ("head", "output")]), Rules(dt=1.0))
    spikes = loop_spikes(w, scale[:, None] * u, scale * b, x[0])
    assert 20 < spikes.sum() < 160
    assert spikes[0].any()  # from the bias: without it no input of the first step would do
    np.testing.assert_array_equal(answer(result.program, x)[0], (spikes @ u.T + b) @ outside.T)
    assert [remark for remark in result.remarks if "first step" in remark]


def test_a_threshold_that_fires_at_rest_in_a_loop_is_refused(tmp_path: Path) -> None:
    nodes = ends(N, N) | {"li": nir.LI(2 * ONES, ONES, 0 * ONES), "th": nir.Threshold(-ONES)}
    path = save(tmp_path / "a.nir", nodes, [("input", "li"), ("li", "th"), ("th", "li"), ("li", "output")])
    with pytest.raises(BadInput, match="node th: is a threshold that sends something before the first step"):
        read(path, Rules(dt=1.0))


def test_dt_in_metadata_is_followed_and_overruled(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(1, 2, (1, 100, N))
    right = {dt: answer(read(lif(tmp_path / "a.nir"), Rules(dt=dt)), x) for dt in (1e-4, 1e-3)}
    assert not np.array_equal(right[1e-4], right[1e-3])
    for place in ("node/metadata/dt", "node/nodes/one/metadata/dt"):
        path = put(lif(tmp_path / "a.nir"), place, 1e-3)
        for rules in (None, Rules(reset="hard")):
            followed = reading(path, rules)
            np.testing.assert_array_equal(answer(followed.program, x), right[1e-3])
            assert "dt is 0.001 s" in followed.remarks[0]
        told = reading(path, Rules(dt=1e-4))
        np.testing.assert_array_equal(answer(told.program, x), right[1e-4])
        assert "as asked for" in told.remarks[0]
        assert check(path).header["dt"] == 1e-3
    put(path, "node/metadata/dt", 2e-3)
    with pytest.raises(BadInput, match="more than one dt"):
        read(path)


@pytest.mark.parametrize("value", [-1e-3, 0, float("nan"), "1 ms", np.array([1e-3, 1e-3])])
def test_dt_that_is_not_clear_is_refused(tmp_path: Path, value: Any) -> None:
    path = put(lif(tmp_path / "a.nir"), "node/metadata/dt", value)
    with pytest.raises(BadInput, match="not a positive number of seconds; give --dt"):
        read(path)
    read(path, Rules(dt=1e-3))


def test_reset_in_metadata_the_nearest_counts(tmp_path: Path) -> None:
    path = put(lif(tmp_path / "a.nir"), "node/metadata/reset", "soft")
    assert read(path).layers[0].operation.attributes()["reset_kind"] == "soft"
    put(path, "node/nodes/one/metadata/reset_mechanism", "zero")
    assert read(path).layers[0].operation.attributes()["reset_kind"] == "hard"
    assert read(path, Rules(reset="soft")).layers[0].operation.attributes()["reset_kind"] == "soft"
    inner = nir.NIRGraph(
        {**ends(N, N), "one": nir.LIF(ONES, ONES, 0 * ONES, ONES, 0 * ONES)},
        [("input", "one"), ("one", "output")],
        metadata={"reset": "subtract"},
        type_check=False,
    )
    nested = save(tmp_path / "n.nir", ends(N, N) | {"sub": inner}, [("input", "sub"), ("sub", "output")], reset="hard")
    assert read(nested, Rules(dt=1.0)).layers[0].operation.attributes()["reset_kind"] == "soft"


@pytest.mark.parametrize("value", ["banana", 1, np.array([b"soft"]), True])
def test_reset_that_is_not_clear_is_refused(tmp_path: Path, value: Any) -> None:
    path = put(lif(tmp_path / "a.nir"), "node/nodes/one/metadata/reset", value)
    with pytest.raises(BadInput, match=r"node one: metadata say reset .* give --reset"):
        read(path)
    read(path, Rules(reset="hard"))


def test_two_resets_in_one_place_are_refused(tmp_path: Path) -> None:
    path = put(lif(tmp_path / "a.nir"), "node/nodes/one/metadata/reset", "hard")
    put(path, "node/nodes/one/metadata/reset_mechanism", "subtract")
    with pytest.raises(BadInput, match="one reset in reset and another"):
        read(path)


FRAME = (3, 2, 2)
VALUES = {
    "LIF": {"tau": 2e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.05, "v_reset": 0.0},
    "IF": {"r": 1e3, "v_threshold": 0.3, "v_reset": 0.0},
    "LI": {"tau": 2e-3, "r": 1.5, "v_leak": 0.1},
    "I": {"r": 3.0},
    "CubaLI": {"tau_syn": 1e-3, "tau_mem": 2e-3, "r": 1.0, "v_leak": 0.0, "w_in": 2.0},
    "Threshold": {"threshold": 0.7},
    "Scale": {"scale": -0.5},
    "Delay": {"delay": 3e-4},
}


@pytest.mark.parametrize("kind", VALUES)
def test_parameters_spread_over_the_stream(tmp_path: Path, kind: str) -> None:
    """Each way to say it, against the same numbers written out for every element."""
    x = np.random.default_rng(1).normal(1, 2, (1, 30, *FRAME))
    each = np.arange(1, 4).reshape(3, 1, 1)

    def made(factor: np.ndarray) -> np.ndarray:
        first, *others = VALUES[kind]
        values = {first: VALUES[kind][first] * factor} | {
            name: VALUES[kind][name] * np.ones(np.shape(factor)) for name in others
        }
        node = getattr(nir, kind)(**values)
        return answer(read(lone(tmp_path / "a.nir", node, FRAME)), x)

    for shape in ((), (1,), (1, 1, 1)):
        np.testing.assert_array_equal(made(np.ones(shape)), made(np.ones(FRAME)))
    np.testing.assert_array_equal(made(each), made(each * np.ones(FRAME)))
    assert not np.array_equal(made(each), made(np.ones(FRAME)))


def test_one_number_beside_one_for_each_neuron(tmp_path: Path) -> None:
    threshold = np.array([0.03, 0.05, 0.07])
    path = lone(tmp_path / "a.nir", nir.LIF(2e-3 * ONES, ONES, 0 * ONES, threshold, 0 * ONES), (N,))
    whole = read(path)
    for name, value in (("tau", 2e-3), ("r", np.ones(1)), ("v_leak", 0.0), ("v_reset", np.zeros(1))):
        put(path, f"node/nodes/one/{name}", value)
    assert read(path).sha256 == whole.sha256
    put(path, "node/nodes/one/tau", np.ones(2))
    with pytest.raises(BadInput, match=r"one: is no valid LIF .*same shape"):
        read(path)


def test_an_infinite_threshold_never_fires(tmp_path: Path) -> None:
    x = np.full((1, 50, N), 1e6)
    for reset in ("hard", "soft"):
        path = put(lif(tmp_path / "a.nir"), "node/nodes/one/v_threshold", np.array([0.05, np.inf, 0.05]))
        spikes = answer(read(path, Rules(reset=reset)), x)[0]
        assert spikes.sum(axis=0).tolist() == [50, 0, 50]
    put(path, "node/nodes/one/v_threshold", np.array([0.05, -np.inf, 0.05]))
    with pytest.raises(BadInput, match="one: v_threshold holds NaN or infinity"):
        read(path)


@pytest.mark.parametrize(("start", "end"), [(1, -1), (1, 3)])
def test_flatten_that_counts_the_batch(tmp_path: Path, start: int, end: int) -> None:
    """Read so only where the shapes fit in no other way, and said."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(5, 32)), rng.normal(size=(1, 7, 2, 4, 4))
    nodes: Nodes = {
        "input": nir.Input(np.array([2, 4, 4])),
        "fl": nir.Flatten(np.array([2, 4, 4]), start, end),
        "fc": nir.Linear(w),
        "output": nir.Output(np.array([5])),
    }
    path = save(tmp_path / "a.nir", nodes, [("input", "fl"), ("fl", "fc"), ("fc", "output")])
    result = reading(path)
    np.testing.assert_allclose(answer(result.program, x)[0], x[0].reshape(7, -1) @ w.T, rtol=1e-12, atol=1e-12)
    assert "batch" in result.remarks[0]
    nodes["fc"] = nir.Linear(w[:, :7])
    with pytest.raises(BadInput, match=r"node f[cl]: "):
        read(save(tmp_path / "a.nir", nodes, [("input", "fl"), ("fl", "fc"), ("fc", "output")]))


def test_a_neuron_that_is_silent_at_the_default_step(tmp_path: Path) -> None:
    """1/16 a step, threshold 1: the 17th step fires at dt = 1, the 160,001st at the default."""
    path = lone(tmp_path / "a.nir", nir.IF(np.ones(1), np.ones(1)), (1,))
    x = np.full((1, 40, 1), 0.0625)
    assert np.flatnonzero(answer(read(path, Rules(dt=1.0)), x)).tolist() == [16, 33]
    assert any("--dt 1" in remark for remark in reading(path).remarks)
    assert any("--dt 1" in note for note in check(path).notes)
    for rules in (Rules(dt=1.0), Rules(dt=1e-4)):
        assert reading(path, rules).remarks == ()
    assert reading(lif(tmp_path / "b.nir")).remarks == ()


def test_shapes_that_frames_state_of_their_input(tmp_path: Path) -> None:
    conv = nir.Conv2d((20, 20), np.ones((1, 1, 3, 3)), 1, 0, 1, 1, np.zeros(1))
    remarks = reading(lone(tmp_path / "a.nir", conv, (1, 8, 8), (1, 6, 6))).remarks
    assert "(20, 20)" in remarks[0]
    flatten = nir.Flatten(np.array([3, 5, 5]), 0, -1)
    remarks = reading(lone(tmp_path / "a.nir", flatten, (2, 4, 4), (32,))).remarks
    assert "(3, 5, 5)" in remarks[0]


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        ("input l,l input,l output", "node input: is an Input, and the edge l -> input"),
        ("input l,l output,output l", "node output: is an Output, and the edge output -> l"),
        ("input l,input l,l output", "the edge input -> l twice"),
    ],
)
def test_edges_that_no_graph_should_have(tmp_path: Path, edges: str, reason: str) -> None:
    path = lif(tmp_path / "a.nir")
    with h5py.File(path, "r+") as file:
        file.move("node/nodes/one", "node/nodes/l")
    put(path, "node/edges", np.array([pair.split() for pair in edges.split(",")], "S"))
    with pytest.raises(BadInput, match=reason):
        read(path)


@pytest.mark.parametrize(
    ("outer", "inner", "where"), [((5,), (), "output"), ((), (7, 3), "sub/input"), ((), (3, 9), "sub/output")]
)
def test_ends_of_another_size(tmp_path: Path, outer: tuple[int, ...], inner: tuple[int, ...], where: str) -> None:
    one = nir.LIF(ONES, ONES, 0 * ONES, ONES, 0 * ONES)
    sub = nir.NIRGraph(
        {**ends(*(inner or (N, N))), "one": one}, [("input", "one"), ("one", "output")], type_check=False
    )
    nodes = ends(N, *(outer or (N,))) | {"sub": sub}
    with pytest.raises(BadInput, match=f"node {where}: states the shape .* arrives"):
        read(save(tmp_path / "a.nir", nodes, [("input", "sub"), ("sub", "output")]), Rules(dt=1.0))
