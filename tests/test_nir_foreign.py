"""Graphs of others: every standard primitive, cycles and nesting, against plain loops and stock tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from stock_importers import STOCK

from convert.formats.nir.reading import Rules, read, reading
from convert.formats.nir.writing import write
from convert.to_nir import command
from simulators.backends.numpy import NumpyBackend
from simulators.backends.torch import TorchBackend
from spikestrip.errors import BadInput, Refused
from spikestrip.program import Program

Nodes = dict[str, nir.NIRNode]


def save(path: Path, nodes: Nodes, edges: list[tuple[str, str]], **metadata: Any) -> Path:
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False))
    return path


def lone(path: Path, node: nir.NIRNode, shape: tuple[int, ...], out: tuple[int, ...] | None = None) -> Path:
    """A file of one node between Input and Output."""
    nodes = {"input": nir.Input(np.array(shape)), "one": node, "output": nir.Output(np.array(out or shape))}
    return save(path, nodes, [("input", "one"), ("one", "output")])


def answer(program: Program, x: np.ndarray) -> np.ndarray:
    """The output stream for x (B, T, ...); numpy and torch must agree, and the canonical file must hold the program."""
    ours = NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).output
    theirs = TorchBackend().run(program, x, "float64", "cpu", lambda done: None).output
    np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-12)
    return ours


def test_lif_and_li_by_each_rule(tmp_path: Path) -> None:
    """tau dv/dt = (v_leak - v) + r I, written out for one neuron after another."""
    rng = np.random.default_rng(0)
    dt, n = 0.25e-3, 4
    tau, r, v_leak = rng.uniform(1e-3, 5e-3, n), rng.uniform(1, 3, n), rng.uniform(0, 0.3, n)
    threshold, v_reset = rng.uniform(0.3, 0.6, n), rng.uniform(-0.2, 0, n)
    lif = lone(tmp_path / "lif.nir", nir.LIF(tau, r, v_leak, threshold, v_reset), (n,))
    li = lone(tmp_path / "li.nir", nir.LI(tau, r, v_leak), (n,))
    x = rng.normal(0.3, 1, (1, 200, n))
    for integrate in ("euler", "exponential", "impulse"):
        rules = Rules(dt=dt, integrate=integrate)
        spikes, potential = answer(read(lif, rules), x)[0], answer(read(li, rules), x)[0]
        for k in range(n):
            v = free = 0.0
            for t in range(200):
                drive = v_leak[k] + r[k] * x[0, t, k]
                if integrate == "euler":
                    v += dt / tau[k] * (drive - v)
                    free += dt / tau[k] * (drive - free)
                else:
                    a = np.exp(-dt / tau[k])
                    jump = 0.0
                    if integrate == "impulse":
                        drive, jump = v_leak[k], r[k] * x[0, t, k] * dt / tau[k]
                    v = drive + (v - drive) * a + jump
                    free = drive + (free - drive) * a + jump
                assert spikes[t, k] == (v > threshold[k])
                assert potential[t, k] == pytest.approx(free, rel=1e-9, abs=1e-12)
                if v > threshold[k]:
                    v = v_reset[k]
        assert spikes.sum() > 10


def test_if_and_i_accumulate_r_times_dt(tmp_path: Path) -> None:
    r, threshold = np.array([100.0, 200.0]), np.array([0.5, 0.7])
    x = np.ones((1, 50, 2))
    spikes = answer(read(lone(tmp_path / "if.nir", nir.IF(r, threshold), (2,)), Rules(dt=1e-3)), x)
    assert [np.flatnonzero(spikes[0, :, k])[:2].tolist() for k in range(2)] == [[5, 11], [3, 7]]
    total = answer(read(lone(tmp_path / "i.nir", nir.I(r), (2,)), Rules(dt=1e-3)), x)
    np.testing.assert_allclose(total[0, -1], [5, 10])


def test_comparison_and_reset_are_as_asked(tmp_path: Path) -> None:
    """Input 1, threshold 1, no leak: the first potential ties."""
    file = lone(tmp_path / "if.nir", nir.IF(np.ones(1), np.ones(1)), (1,))
    x = np.array([1.0, 1.0, 0.5, 1.0, 0.0]).reshape(1, -1, 1)

    def spikes(**rules: Any) -> list[int]:
        return answer(read(file, Rules(dt=1.0, **rules)), x)[0, :, 0].astype(int).tolist()

    assert spikes() == [0, 1, 0, 1, 0]
    assert spikes(compare="ge") == [1, 1, 0, 1, 0]
    assert spikes(reset="soft") == [0, 1, 1, 1, 0]
    assert spikes(reset="soft", compare="ge") == [1, 1, 0, 1, 0]


@pytest.mark.parametrize("slower", ["membrane", "synapse", "alike"])
def test_current_based_neurons(tmp_path: Path, slower: str) -> None:
    """Euler: current first, then membrane. Exponential: the limit of many small Euler steps under a held input."""
    rng = np.random.default_rng(1)
    dt, n, steps = 1e-3, 3, 40
    tau_syn = rng.uniform(2e-3, 4e-3, n)
    tau_mem = {"membrane": 3 * tau_syn, "synapse": tau_syn / 3, "alike": tau_syn}[slower]
    r, leak, w = rng.uniform(1, 2, n), rng.uniform(0, 0.1, n), rng.uniform(1, 2, n)
    file = lone(tmp_path / "li.nir", nir.CubaLI(tau_syn, tau_mem, r, leak, w), (n,))
    x = rng.normal(0, 1, (1, steps, n))
    euler, exact = (
        answer(reading(file, Rules(dt=dt, integrate=rule)).program, x)[0] for rule in ("euler", "exponential")
    )
    i, v, fine_i, fine_v = (np.zeros(n) for _ in range(4))
    for t in range(steps):
        i = i + dt / tau_syn * (w * x[0, t] - i)
        v = v + dt / tau_mem * (leak - v + r * i)
        np.testing.assert_allclose(euler[t], v, rtol=1e-9, atol=1e-12)
        for _ in range(2000):
            fine_v = fine_v + dt / 2000 / tau_mem * (leak - fine_v + r * fine_i)
            fine_i = fine_i + dt / 2000 / tau_syn * (w * x[0, t] - fine_i)
        np.testing.assert_allclose(exact[t], fine_v, rtol=2e-3, atol=2e-4)
    threshold = np.full(n, 0.3)
    spiking = lone(tmp_path / "lif.nir", nir.CubaLIF(tau_syn, tau_mem, r, leak, threshold, w_in=w), (n,))
    spikes = answer(reading(spiking, Rules(dt=dt)).program, x)[0]
    i, v = np.zeros(n), np.zeros(n)
    for t in range(steps):
        i = i + dt / tau_syn * (w * x[0, t] - i)
        v = v + dt / tau_mem * (leak - v + r * i)
        np.testing.assert_array_equal(spikes[t], v > threshold)
        v = np.where(v > threshold, 0, v)
    assert spikes.any()


RNG = np.random.default_rng(2)
W1, W2, B = RNG.normal(size=(4, 3, 3)), RNG.normal(size=(4, 3, 2, 3)), RNG.normal(size=4)
GROUPED = RNG.normal(size=(4, 1, 2, 2))
F = torch.nn.functional
FRAMES: dict[str, tuple[nir.NIRNode, tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]] = {
    "conv1d": (
        nir.Conv1d(9, W1, 2, 1, 2, 1, B),
        (3, 9),
        lambda x: F.conv1d(x, torch.tensor(W1), torch.tensor(B), 2, 1, 2),
    ),
    "conv1d same": (
        nir.Conv1d(9, W1[:, :, :2], 1, "same", 3, 1, B),
        (3, 9),
        lambda x: F.conv1d(x, torch.tensor(W1[:, :, :2]), torch.tensor(B), 1, "same", 3),
    ),
    "conv2d": (
        nir.Conv2d((6, 7), W2, (2, 1), (1, 2), (1, 2), 1, B),
        (3, 6, 7),
        lambda x: F.conv2d(x, torch.tensor(W2), torch.tensor(B), (2, 1), (1, 2), (1, 2)),
    ),
    "conv2d valid": (
        nir.Conv2d((6, 7), W2, 1, "valid", 1, 1, B),
        (3, 6, 7),
        lambda x: F.conv2d(x, torch.tensor(W2), torch.tensor(B)),
    ),
    "conv2d square": (
        nir.Conv2d((6, 7), W2[:, :, :, :2], (2, 1), (1, 2), (1, 2), 1, B),
        (3, 6, 7),
        lambda x: F.conv2d(x, torch.tensor(W2[:, :, :, :2]), torch.tensor(B), (2, 1), (1, 2), (1, 2)),
    ),
    "conv2d same": (
        nir.Conv2d((6, 7), W2, 1, "same", 1, 1, B),
        (3, 6, 7),
        lambda x: F.conv2d(x, torch.tensor(W2), torch.tensor(B), padding="same"),
    ),
    "conv2d groups": (
        nir.Conv2d((5, 5), GROUPED, 1, 0, 1, 2, B),
        (2, 5, 5),
        lambda x: F.conv2d(x, torch.tensor(GROUPED), torch.tensor(B), groups=2),
    ),
    "sum pool": (
        nir.SumPool2d(np.array([2, 3]), np.array([2, 1]), np.array([0, 0])),
        (3, 6, 7),
        lambda x: F.avg_pool2d(x, (2, 3), (2, 1), 0, divisor_override=1),
    ),
    "average pool": (
        nir.AvgPool2d(np.array([3, 2]), np.array([1, 2]), np.array([1, 1])),
        (3, 6, 7),
        lambda x: F.avg_pool2d(x, (3, 2), (1, 2), 1),
    ),
    "flatten": (nir.Flatten(np.array([3, 4, 5]), 1, -1), (3, 4, 5), lambda x: x.flatten(2, -1)),
    "flatten front": (nir.Flatten(np.array([3, 4, 5]), 0, 1), (3, 4, 5), lambda x: x.flatten(1, 2)),
    "affine": (nir.Affine(W1[0], B[:3]), (3,), lambda x: F.linear(x, torch.tensor(W1[0]), torch.tensor(B[:3]))),
    "affine rows": (nir.Linear(W1[:1]), (1, 3), lambda x: F.linear(x, torch.tensor(W1[0]))),
    "scale": (nir.Scale(B), (4,), lambda x: x * torch.tensor(B)),
    "threshold": (nir.Threshold(B), (4,), lambda x: (x > torch.tensor(B)).double()),
}


@pytest.mark.parametrize("case", FRAMES)
def test_nodes_without_memory(tmp_path: Path, case: str) -> None:
    node, shape, reference = FRAMES[case]
    x = np.random.default_rng(3).normal(size=(2, 3, *shape))
    expected = np.stack([reference(torch.tensor(x[:, t])).numpy() for t in range(3)], axis=1)
    program = read(lone(tmp_path / "one.nir", node, shape, expected.shape[2:]))
    np.testing.assert_allclose(answer(program, x), expected, rtol=1e-12, atol=1e-12)
    if case in ("conv2d", "conv2d valid"):  # nir itself takes kernels for square, and (2, 3) has no square padded alike
        with pytest.raises(Refused, match="type check"):
            write(program, tmp_path / "ours.nir")
    else:
        write(program, tmp_path / "ours.nir")
        nir.read(tmp_path / "ours.nir")
        assert read(tmp_path / "ours.nir").sha256 == program.sha256
    layer = program.layers[0]
    counted = layer.operation.count((x[:, 0] > 0).astype(float), True)
    if case.startswith(("conv", "sum", "average")):
        size = np.asarray(getattr(node, "weight", np.ones((1, 1, *getattr(node, "kernel_size", ())))))
        assert 0 < counted["synaptic_acs"][0] < counted["dense_macs"] <= np.prod(expected.shape[2:]) * size[0].size


def test_delay(tmp_path: Path) -> None:
    program = read(lone(tmp_path / "d.nir", nir.Delay(np.array([0.0, 2e-3, 1e-3])), (3,)), Rules(dt=1e-3))
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    y = answer(program, x)
    for k, steps in enumerate((0, 2, 1)):
        np.testing.assert_array_equal(y[:, steps:, k], x[:, : 6 - steps, k])
        assert not y[:, :steps, k].any()
    write(program, tmp_path / "ours.nir")
    assert read(tmp_path / "ours.nir").sha256 == program.sha256
    with pytest.raises(BadInput, match="whole number"):
        read(tmp_path / "d.nir", Rules(dt=0.7e-3))


def recurrent_nodes() -> tuple[Nodes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    w, u = rng.normal(size=(5, 3)), rng.normal(0, 0.8, (5, 5))
    ones = np.ones(5)
    neuron = nir.LIF(2 * ones, 2 * ones, 0 * ones, ones)
    return {"lif": neuron, "w": nir.Linear(w), "rec": nir.Affine(u, 0.1 * ones)}, w, u


def recurrent_spikes(w: np.ndarray, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Input through w at once, spikes through u one step later; the bias of 0.1 in every step."""
    spikes = np.zeros((x.shape[0], 5))
    v = np.zeros(5)
    for t in range(x.shape[0]):
        v = v / 2 + w @ x[t] + (u @ spikes[t - 1] if t else 0) + 0.1
        spikes[t] = v > 1
        v = v * (1 - spikes[t])
    return spikes


def test_recurrent_edges_flat_and_nested(tmp_path: Path) -> None:
    nodes, w, u = recurrent_nodes()
    ends: Nodes = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([5]))}
    edges = [("input", "w"), ("w", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")]
    x = np.random.default_rng(5).normal(size=(1, 80, 3))
    expected = recurrent_spikes(w, u, x[0])
    assert expected.sum() > 20
    flat = reading(save(tmp_path / "flat.nir", ends | nodes, edges), Rules(dt=1.0))
    assert flat.remarks == ("rec: its bias enters in the first step too; norse leaves it out there",)
    np.testing.assert_array_equal(answer(flat.program, x)[0], expected)

    inner = nir.NIRGraph(
        {
            "in.put": nir.Input(np.array([5])),
            "l.if": nodes["lif"],
            "rec": nodes["rec"],
            "out": nir.Output(np.array([5])),
        },
        [("in.put", "l.if"), ("l.if", "rec"), ("rec", "l.if"), ("l.if", "out")],
        type_check=False,
    )
    nested = save(
        tmp_path / "nested.nir",
        ends | {"w": nodes["w"], "sub": inner},
        [("input", "w"), ("w", "sub"), ("sub", "output")],
    )
    program = read(nested, Rules(dt=1.0))
    np.testing.assert_array_equal(answer(program, x)[0], expected)
    assert "sub_l_if" in [layer.name for layer in program.layers]
    write(program, tmp_path / "ours.nir")
    assert read(tmp_path / "ours.nir").sha256 == program.sha256


def test_recurrence_around_a_nested_graph(tmp_path: Path) -> None:
    """The cycle leads through the nested graph as one node: only what comes from the cycle is a step late."""
    nodes, w, u = recurrent_nodes()
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([5])), "lif": nodes["lif"], "output": nir.Output(np.array([5]))},
        [("input", "lif"), ("lif", "output")],
        type_check=False,
    )
    file = save(
        tmp_path / "around.nir",
        {"input": nir.Input(np.array([3])), "w": nodes["w"], "sub": inner, "rec": nodes["rec"],
         "output": nir.Output(np.array([5]))},
        [("input", "w"), ("w", "sub"), ("sub", "rec"), ("rec", "sub"), ("sub", "output")],
    )  # fmt: skip
    x = np.random.default_rng(5).normal(size=(1, 80, 3))
    np.testing.assert_array_equal(answer(read(file, Rules(dt=1.0)), x)[0], recurrent_spikes(w, u, x[0]))


def test_a_cycle_entered_at_a_node_without_state_is_reported(tmp_path: Path) -> None:
    """The loop's edge into the neuron waits, and with it what enters before; others let the edge back wait."""
    nodes: Nodes = {
        "input": nir.Input(np.array([2])),
        "a": nir.Affine(np.eye(2) / 2, np.zeros(2)),
        "b": nir.LIF(np.full(2, 2.0), np.full(2, 2.0), np.zeros(2), np.ones(2)),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    file = save(tmp_path / "a.nir", nodes, edges)
    result = reading(file, Rules(dt=1.0))
    assert [remark for remark in result.remarks if "without state (a, b)" in remark]
    x = np.random.default_rng(0).normal(1.5, 1, (1, 60, 2))
    y = answer(result.program, x)[0]
    v = s = late = np.zeros(2)
    for t in range(60):
        v = v / 2 + late
        s = (v > 1) * 1.0
        v = v * (1 - s)
        late = (x[0, t] + s) / 2
        np.testing.assert_array_equal(y[t], s)
    with pytest.raises(BadInput, match="may delay another edge"):
        read(file, Rules(integrate="as-importer:spikingjelly"))


def test_several_stateful_nodes_in_a_cycle_are_reported(tmp_path: Path) -> None:
    ones = np.ones(2)
    nodes: Nodes = {
        "input": nir.Input(np.array([2])),
        "a": nir.LIF(2 * ones, 2 * ones, 0 * ones, ones),
        "b": nir.LIF(4 * ones, 4 * ones, 0 * ones, ones),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    result = reading(save(tmp_path / "two.nir", nodes, edges), Rules(dt=1.0))
    assert len(result.remarks) == 1
    assert "ambiguous" in result.remarks[0]
    assert "(a, b)" in result.remarks[0]
    with pytest.warns(UserWarning, match="ambiguous"):
        read(tmp_path / "two.nir", Rules(dt=1.0))
    x = np.random.default_rng(0).normal(0.5, 1, (1, 60, 2))
    y = answer(result.program, x)[0]
    va = vb = np.zeros(2)
    sa = sb = np.zeros(2)
    for t in range(60):
        va, vb = va / 2 + x[0, t] + sb, vb * 0.75 + sa
        sa, sb = (va > 1) * 1.0, (vb > 1) * 1.0
        va, vb = va * (1 - sa), vb * (1 - sb)
        np.testing.assert_array_equal(y[t], sb)


def old_file(tmp_path: Path) -> Path:
    ones = np.ones(2)
    path = lone(tmp_path / "old.nir", nir.LIF(2 * ones, ones, 0 * ones, ones), (2,))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/one/v_reset"], file["version"]
        file["version"] = "1.0.4"
    return path


def test_an_old_file_must_be_told_its_reset(tmp_path: Path) -> None:
    path = old_file(tmp_path)
    with pytest.raises(BadInput, match=r"one: does not say how it resets \(a file of nir 1.0.4\).*--reset"):
        read(path)
    for reset in ("hard", "soft"):
        assert read(path, Rules(reset=reset)).layers[0].operation.reset_kind == reset
    with h5py.File(path, "r+") as file:
        file["node/nodes/one/metadata/reset_mechanism"] = "subtract"
    assert read(path).layers[0].operation.reset_kind == "soft"


def test_files_that_nir_104_wrote(tmp_path: Path) -> None:
    """data/nir-1.0.4: Conv2d, SumPool2d, Flatten, Affine and CubaLIF in a row; and an LIF that feeds itself."""
    folder = Path(__file__).parent / "data" / "nir-1.0.4"
    for name, kinds in (("convolution", "conv2d sum_pool2d flatten affine li lif"), ("recurrent", "lif affine")):
        with pytest.raises(BadInput, match=r"nir 1\.0\.4"):
            read(folder / f"{name}.nir")
        program = read(folder / f"{name}.nir", Rules(dt=1e-3, reset="soft"))
        assert [layer.operation.kind for layer in program.layers] == kinds.split()
        x = np.random.default_rng(0).uniform(0, 1, (2, 12, *program.input_shape))
        assert answer(program, x).any()
        write(program, tmp_path / "new.nir")
        nir.read(tmp_path / "new.nir")
        assert read(tmp_path / "new.nir").sha256 == program.sha256


def test_one_value_for_all_neurons_is_spread(tmp_path: Path) -> None:
    """Stock nir writes and reads scalars and arrays of one; both mean every neuron."""
    x = np.random.default_rng(0).normal(0.5, 1, (1, 30, 3))
    spikes = []
    for one in (np.float64(1), np.ones(1), np.ones(3)):
        node = nir.LIF(2 * one, 2 * one, 0 * one, one, 0 * one)
        spikes.append(answer(read(lone(tmp_path / "a.nir", node, (3,)), Rules(dt=1.0)), x))
    assert spikes[0].sum() > 5
    np.testing.assert_array_equal(spikes[0], spikes[1])
    np.testing.assert_array_equal(spikes[0], spikes[2])


def test_command_translates_by_the_rules_it_is_told(tmp_path: Path) -> None:
    path = old_file(tmp_path)
    refused = CliRunner().invoke(command, [str(path), "--dt", "0.5"])
    assert isinstance(refused.exception, BadInput)
    told = ["--dt", "0.5", "--integrate", "exponential", "--compare", "ge", "--reset", "soft"]
    result = CliRunner().invoke(command, [str(path), *told])
    assert result.exit_code == 0, result.output
    lif = read(path.with_suffix(".canonical.nir")).layers[0].operation
    assert lif.attributes() == {"reset_kind": "soft", "comparison": "ge"}
    np.testing.assert_allclose(lif.arrays()["decay"], np.exp(-0.25))


def test_ends_that_are_missing_are_put_at_loose_ends(tmp_path: Path) -> None:
    ones = np.ones(2)
    nodes: Nodes = {"a": nir.Scale(2 * ones), "b": nir.Scale(3 * ones)}
    program = read(save(tmp_path / "bare.nir", nodes, [("a", "b")]))
    np.testing.assert_array_equal(answer(program, np.ones((1, 1, 2))), 6 * np.ones((1, 1, 2)))


@pytest.mark.parametrize(
    ("nodes", "edges", "reason"),
    [
        (
            {"a": nir.Scale(np.ones(2)), "b": nir.Scale(np.ones(2))},
            "input a,a b,b a,b output",
            "cycle without a stateful",
        ),
        ({"a": nir.Scale(np.ones(3))}, "input a,a output", r"\(3,\), not \(2,\)"),
        ({"a": nir.Scale(np.ones(2)), "b": nir.Linear(np.ones((3, 2)))}, "input a,input b,a output,b output", "output"),
        ({"a": nir.Linear(np.ones((3, 2, 2)))}, "input a,a output", "a: weight of shape .* stack"),
        ({"a": nir.Scale(np.array([1, np.nan]))}, "input a,a output", "a: scale holds NaN"),
        ({"a": nir.LI(-np.ones(2), np.ones(2), np.ones(2))}, "input a,a output", "not positive"),
        (
            {"a": nir.Scale(np.ones(2)), "second": nir.Input(np.array([2]))},
            "input a,second a,a output",
            "several Input",
        ),
        ({"a": nir.Scale(np.ones(2))}, "input output,input a", "without a node"),
        ({"a": nir.Scale(np.ones(2)), "b": nir.Scale(np.ones(2))}, "input a,b a,a output", "b: is fed by nothing"),
        ({"a": nir.Conv2d((2, 2), W2, 1, 0, 1, 1, B)}, "input a,a output", "a: conv2d takes inputs of shape"),
    ],
)
def test_graphs_that_cannot_run(tmp_path: Path, nodes: Nodes, edges: str, reason: str) -> None:
    ends: Nodes = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    pairs = [(pair.split()[0], pair.split()[1]) for pair in edges.split(",")]
    with pytest.raises(BadInput, match=reason) as caught:
        read(save(tmp_path / "bad.nir", ends | nodes, pairs))
    assert str(caught.value).startswith(str(tmp_path / "bad.nir"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "rules", [{"dt": 0.0}, {"dt": float("nan")}, {"integrate": "rk4"}, {"compare": "eq"}, {"reset": "zero"}]
)
def test_rules_that_are_none(rules: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="--"):
        Rules(**rules)


def test_nodes_without_memory_as_stock_importers_read_them(tmp_path: Path) -> None:
    """What snnTorch and Sinabs drop or change is refused; the rest they run as NIR says."""
    taken = {
        "snntorch": {"conv1d", "conv1d same", "conv2d square", "conv2d same", "sum pool", "average pool", "affine"},
        "sinabs": {"conv2d square", "conv2d same", "sum pool", "flatten", "flatten front", "affine"},
    }
    unreadable = {"conv2d", "conv2d valid", "conv2d groups", "affine rows"}  # nir's own reader mistakes their shapes
    for name, cases in taken.items():
        for case in FRAMES.keys() - unreadable:
            node, shape, reference = FRAMES[case]
            x = np.random.default_rng(0).normal(size=(2, 1, *shape))
            expected = reference(torch.tensor(x[:, 0])).numpy()
            path = lone(tmp_path / "one.nir", node, shape, expected.shape[1:])
            if case in cases:
                reading(path, Rules(integrate=f"as-importer:{name}"))
                np.testing.assert_allclose(STOCK[name](path, x)[:, 0], expected, atol=1e-5)
            else:
                with pytest.raises(BadInput, match=rf"that importer|which {name} (drops|changes|stops)"):
                    reading(path, Rules(integrate=f"as-importer:{name}"))


def test_unknown_importer(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nobody"):
        read(lone(tmp_path / "a.nir", nir.Scale(np.ones(2)), (2,)), Rules(integrate="as-importer:nobody"))
