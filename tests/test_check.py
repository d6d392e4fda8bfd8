"""``spikestrip check``: each platform's spikes, and the one rule behind them, against loops written out here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import commands
import h5py
import nir
import numpy as np
import pytest
from programs import network

from convert.formats.nir.writing import write
from deploy.check import command
from simulators.checking import Report, Row, check
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, Affine
from spikestrip.program import chain

PAPER = Path(__file__).parent / "data" / "nir-paper-lif"
DT = 1e-4


def save(path: Path, *layers: nir.NIRNode, back: bool = False) -> Path:
    """A file of ``layers`` in a row, named a, b, c ...; ``back`` feeds the last node into the first."""
    size = next(iter(layers[0].input_type.values()))
    nodes = {"input": nir.Input(size), **{chr(ord("a") + k): node for k, node in enumerate(layers)}}
    nodes["output"] = nir.Output(next(iter(layers[-1].output_type.values())))
    names = list(nodes)
    edges = list(itertools.pairwise(names)) + ([(names[-2], names[1])] if back else [])
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def lif(tau: float = 2 * DT, r: float = 1, threshold: float = 0.5, n: int = 1) -> nir.LIF:
    one = np.ones(n)
    return nir.LIF(tau * one, r * one, 0 * one, threshold * one)


def one(n: int = 1) -> nir.Affine:
    return nir.Affine(np.eye(n, dtype=np.float32), np.zeros(n, np.float32))


def row(report: Report, name: str) -> Row:
    return next(found for found in report.rows if found.name == name)


def loop(
    x: np.ndarray, decay: float, gain: float, threshold: float, ge: bool = False, soft: bool = False
) -> np.ndarray:
    """The spikes of one neuron."""
    u, spikes = 0.0, np.zeros(len(x), bool)
    for t, value in enumerate(x):
        u = decay * u + gain * value
        spikes[t] = u >= threshold if ge else u > threshold
        if spikes[t]:
            u = u - threshold if soft else 0.0
    return spikes


def given(path: Path, x: Any) -> Path:
    np.save(path, np.asarray(x, np.float32).reshape(1, -1, 1))
    return path


def agrees(found: Row, expected: np.ndarray, reference: np.ndarray) -> None:
    wrong = np.flatnonzero(expected != reference)
    assert (found.spikes, found.differ) == (expected.sum(), len(wrong))
    assert (found.first or {}).get("step") == (wrong[0] if len(wrong) else None)


def test_published_neuron_in_three_groups(tmp_path: Path) -> None:
    def published(name: str) -> np.ndarray:
        return np.loadtxt(PAPER / f"lif_{name}.csv", delimiter=",")[:, 2] > 0

    x = np.loadtxt(PAPER / "lif_norse.csv", delimiter=",")[:, 0]
    report = check(PAPER / "lif_norse.nir", given(tmp_path / "x.npy", x), reset="hard")
    traces = {
        "lava (float)": "lava_cpu_float",
        "loihi": "lava_loihi_fixed",
        "sinabs of 2023": "sinabs",
        **{name: name for name in ("snntorch", "norse", "nengo", "spinnaker2", "spyx", "rockpool")},
    }
    for name, file in traces.items():
        agrees(row(report, name), published(file), published("exact"))
    groups: dict[str, set[str]] = {}
    for name in traces:
        groups.setdefault(row(report, name).answer, set()).add(name)
    late, impulse = {"lava (float)", "loihi", "spyx"}, {"rockpool", "sinabs of 2023"}
    assert sorted(groups.values(), key=len) == [impulse, late, set(traces) - late - impulse]
    assert {str(row(report, name).causes) for name in late} == {"[['delay']]"}
    assert {str(row(report, name).causes) for name in impulse} == {"[['integration']]"}
    assert {row(report, name).tested for name in late | impulse} == {0}
    assert row(report, "norse (no dt given)").causes == [["dt"]]
    assert "node 0" in row(report, "nirtorch defaults").cause
    assert not report.agrees


def test_reset_of_an_older_file_is_asked_for(tmp_path: Path) -> None:
    file = save(tmp_path / "old.nir", one(), lif(threshold=0.3))
    with h5py.File(file, "a") as opened:
        del opened["node/nodes/b/v_reset"]
        opened["version"][()] = "1.0.4"
    x = np.random.default_rng(0).normal(0.6, 1, 300).astype(np.float32)
    source = given(tmp_path / "x.npy", x)
    asked = commands.run(command, file, "--input", source)
    assert asked.code == 2
    assert "--reset" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1
    soft, hard = (loop(x, 0.5, 0.5, 0.3, soft=soft) for soft in (True, False))
    assert (soft != hard).any()
    report = check(file, source, reset="soft")
    for name in ("snntorch", "norse", "spikingjelly"):
        agrees(row(report, name), hard, soft)
        assert row(report, name).causes == [["reset"]]
        assert "no file" in row(report, name).remedy
    report = check(file, source, reset="hard")
    assert {row(report, name).status for name in ("snntorch", "norse", "spikingjelly")} == {"same"}


def test_ties_are_named_comparison_and_one_ulp_mends_them(tmp_path: Path) -> None:
    """tau = 2 dt: decay and gain are 1/2, so that an input of 1 ties with the threshold."""
    x = np.random.default_rng(1).integers(0, 2, 200)
    report = check(save(tmp_path / "ties.nir", one(), lif()), given(tmp_path / "x.npy", x))
    expected, reference = loop(x, 0.5, 0.5, 0.5, ge=True), loop(x, 0.5, 0.5, 0.5)
    found = row(report, "spikingjelly")
    agrees(found, expected, reference)
    assert found.causes == [["comparison"]]
    assert "one ulp" in found.remedy
    assert found.tested == 0
    assert row(report, "norse").status == "same"
    (alone,) = [rule for rule in report.alone if ">=" in rule.name]
    assert (alone.differ, alone.answer) == (found.differ, found.answer)


def test_r_is_ignored_folded_or_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(2).normal(0.2, 1, 200).astype(np.float32)
    file = save(tmp_path / "r.nir", one(), lif(tau=4 * DT, r=2, threshold=0.75))
    report = check(file, given(tmp_path / "x.npy", x))
    reference, ignored = loop(x, 0.75, 0.5, 0.75), loop(x, 0.75, 0.25, 0.75)
    for name, causes in {"norse": [["R"]], "lava (float)": [["R", "delay"]]}.items():
        found = row(report, name)
        shifted = np.concatenate([[False], ignored[:-1]]) if "delay" in causes[0] else ignored
        agrees(found, shifted, reference)
        assert [sorted(chosen) for chosen in found.causes] == causes
        assert found.tested == 0
    assert "divide v_threshold by R" in row(report, "norse").remedy
    assert row(report, "snntorch").status == "same"
    refused = row(report, "spikingjelly")
    assert refused.status == "refused"
    assert "node b: r" in refused.cause
    # dt ten times as long and R left out: neither alone does it
    assert [sorted(chosen) for chosen in row(report, "norse (no dt given)").causes] == [["R", "dt"]]


def test_nodes_that_are_dropped_or_randomised_are_named(tmp_path: Path) -> None:
    biased = nir.Affine(np.ones((1, 1), np.float32), np.full(1, 0.25, np.float32))
    report = check(save(tmp_path / "scaled.nir", biased, nir.Scale(np.full(1, 2.0)), lif()))
    assert "node a: the bias" in row(report, "nirtorch defaults").cause
    for name in ("snntorch", "norse", "sinabs"):
        assert row(report, name).status == "refused"
        assert "node b" in row(report, name).cause
        assert "weights" in row(report, name).remedy
    assert row(report, "nengo").status == "unknown"
    assert "b is a Scale, which norse drops without a word" in row(report, "norse").cause
    assert "b is a Scale, which snntorch stops at" in row(report, "snntorch").cause
    assert not report.judged
    assert not report.agrees


def test_recurrent_graph(tmp_path: Path) -> None:
    """v = v/2 + (x + s_before)/2: norse and spikingjelly run it, the others refuse or aren't known."""
    x = np.random.default_rng(3).normal(0.3, 1, 100).astype(np.float32)
    report = check(save(tmp_path / "loop.nir", lif(threshold=0.4), back=True), given(tmp_path / "x.npy", x))
    u = s = fired = 0.0
    for value in x:
        u = 0.5 * u + 0.5 * (value + s)
        s = float(u > 0.4)
        u, fired = u * (1 - s), fired + s
    assert report.header["spikes"] == fired > 0
    assert {name: row(report, name).status for name in ("norse", "spikingjelly")} == {
        "norse": "same",
        "spikingjelly": "same",
    }
    without = [found for found in report.rows if not found.answer]
    assert {"snntorch", "sinabs", "lava (float)", "loihi"} <= {found.name for found in without}
    assert all("node a" in found.cause for found in without)
    assert "whole sequences" in row(report, "sinabs").cause
    assert any(rule.differ for rule in report.alone)


def test_a_graph_that_nobody_is_known_to_run_is_no_agreement(tmp_path: Path) -> None:
    file = save(tmp_path / "delay.nir", one(), nir.Delay(np.full(1, DT)), lif())
    done = commands.run(command, file, "--json", tmp_path / "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert done.code == 2
    assert (answer["judged"], answer["agrees"]) == (False, False)
    assert "nothing could be judged" in done.stdout


def test_sinabs_sends_several_spikes_as_stock_sinabs_does(tmp_path: Path) -> None:
    layers, torch = pytest.importorskip("sinabs.layers"), pytest.importorskip("torch")
    x = np.random.default_rng(4).normal(0.3, 1.5, 200).astype(np.float32)
    found = row(
        check(save(tmp_path / "s.nir", one(), lif(tau=3, threshold=0.5)), given(tmp_path / "x.npy", x)), "sinabs"
    )
    stock = layers.LIF(
        tau_mem=torch.tensor([3.0]), spike_threshold=torch.tensor([0.5]), min_v_mem=None, norm_input=False
    )
    theirs = stock(torch.tensor(x).reshape(1, -1, 1)).detach().numpy().ravel()
    assert theirs.max() > 1
    agrees(found, theirs, loop(x, 1 - DT / 3, DT / 3, 0.5))
    assert "several" in found.cause


def test_snntorch_row_is_what_stock_snntorch_does(tmp_path: Path) -> None:
    stock, torch = pytest.importorskip("snntorch.import_nir"), pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    weights = rng.normal(0.3, 1, (5, 3)).astype(np.float32)
    neurons = nir.LIF(np.full(5, 1e-3), np.full(5, 2.0), np.zeros(5), np.full(5, 0.3), np.full(5, 0.1))
    file = save(tmp_path / "net.nir", nir.Affine(weights, np.full(5, 0.1, np.float32)), neurons)
    x = rng.normal(0, 1, (1, 300, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    net, state, theirs = stock.import_from_nir(nir.read(file)), None, []
    with torch.no_grad():
        for value in torch.tensor(x[0]):
            spikes, state = net(value[None], state)
            theirs.append(spikes.numpy()[0])
    found = row(check(file, tmp_path / "x.npy"), "snntorch")
    u, reference = np.zeros(5), []
    for value in x[0]:
        u = 0.9 * u + 0.2 * (weights @ value + 0.1)
        reference.append(u > 0.3)
        u = np.where(u > 0.3, 0.1, u)
    wrong = np.array(reference) != np.array(theirs)
    assert (found.spikes, found.differ) == (np.sum(theirs), wrong.sum())
    assert found.differ > 0
    assert found.causes == [["v_reset"]]


def test_canonical_file_and_its_dialect(tmp_path: Path) -> None:
    """Without an S4D the dialect is offered; with one every platform refuses, by the node's name."""
    size = np.full(2, 0.5)
    rate = chain((2,), [("n0_mix", Affine(np.eye(2, dtype=np.float32))), ("n1_spike", LIF(size, size))])
    write(rate, tmp_path / "lif.nir")
    report = check(tmp_path / "lif.nir")
    assert report.header["dt"] == 1
    found = row(report, "snntorch")
    assert found.status == "differs"
    assert "dt" in found.causes[0]
    assert (found.remedy, found.tested) == ("spikestrip to-nir lif.nir --dialect snntorch", 0)
    write(network(np.random.default_rng(5), inputs=2, hidden=3, neuron="soft"), tmp_path / "net.nir")
    report = check(tmp_path / "net.nir")
    assert {found.status for found in report.rows} == {"refused"}
    assert all("s4d" in found.cause for found in report.rows)
    write(network(np.random.default_rng(5), inputs=2, hidden=3, neuron="soft", mix="glu"), tmp_path / "glu.nir")
    assert any("metadata" in note for note in check(tmp_path / "glu.nir").notes)


def test_silence_is_no_agreement(tmp_path: Path) -> None:
    report = check(save(tmp_path / "quiet.nir", one(), lif(threshold=9)))
    assert any("never fires" in note for note in report.notes)


def test_command(tmp_path: Path) -> None:
    file = save(tmp_path / "one.nir", one(2), lif(tau=2.5e-3, threshold=0.02, n=2))
    done = commands.run(command, file, "--json", tmp_path / "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert done.code == 1
    assert not answer["agrees"]
    assert (answer["samples"], answer["steps"]) == (1, 200)
    assert all(name in done.stdout for name in ("snntorch", "spikingjelly", "sinabs"))
    assert "seed 0" in done.stdout


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    file = save(tmp_path / "one.nir", one(), lif())
    wrong, nan = tmp_path / "wrong.npy", tmp_path / "nan.npy"
    np.save(wrong, np.zeros((1, 5, 3), np.float32))
    np.save(nan, np.full((1, 5, 1), np.nan, np.float32))
    (tmp_path / "no.nir").write_text("nothing")
    for arguments in (
        [tmp_path / "missing.nir"],
        [tmp_path / "no.nir"],
        [file, "--input", wrong],
        [file, "--input", nan],
        [file, "--input", tmp_path / "missing.npy"],
        [file, "--dt", "-1"],
        [file, "--json", tmp_path / "nowhere" / "a.json"],
    ):
        done = commands.run(command, *arguments)
        assert done.code == 2, arguments
        assert len(done.stderr.splitlines()) == 1
    nodes = {"input": nir.Input(np.array([1])), "a": lif(), "b": lif(), "output": nir.Output(np.array([1]))}
    nir.write(tmp_path / "loose.nir", nir.NIRGraph(nodes, [("input", "b"), ("b", "output")], type_check=False))
    with pytest.raises(BadInput, match="node a: is fed by nothing"):
        check(tmp_path / "loose.nir")
