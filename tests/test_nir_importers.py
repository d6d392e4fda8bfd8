"""What ``as-importer:`` and ``check`` say of other importers is what the real ones do, on every kind of graph."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from xml.etree import ElementTree

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stock_importers import IMPORTERS

from convert.formats.nir.platforms import importers
from convert.formats.nir.reading import Rules, read
from convert.formats.nir.reading.loading import load
from simulators.checking import check
from simulators.checking.machine import fire
from simulators.checking.platforms import PLATFORMS
from simulators.conformance.importers import judge, page, running
from simulators.conformance.importers.graphs import LONE, N, affine, chain, drawn, graphs, lif, save, wired
from simulators.conformance.importers.stock import OURS, installed
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper

ROOT = Path(__file__).parent.parent
GRAPHS = graphs()
PAIRS = [pytest.param(name, graph, id=f"{name}-{graph}") for name in IMPORTERS for graph in GRAPHS]


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.disable()
    warnings.simplefilter("ignore")


def stock(importer: str, path: Path, x: np.ndarray) -> np.ndarray | None:
    """The real importer's answer; None where it stops."""
    try:
        return IMPORTERS[importer](path, x)
    except Exception:
        return None


def ours(path: Path, x: np.ndarray, importer: str) -> np.ndarray:
    rules = Rules(integrate=f"as-importer:{importer}")
    stepper = Stepper(read(path, rules), len(x), np, lambda array: array.astype(np.float32))
    return np.stack([stepper.step(x[:, t])[stepper.program.output] for t in range(x.shape[1])], axis=1)


@pytest.mark.parametrize(("importer", "graph"), PAIRS)
def test_an_answer_as_importer_is_the_importers_own(tmp_path: Path, importer: str, graph: str) -> None:
    path, x = save(GRAPHS[graph], tmp_path / "a.nir")
    theirs = stock(importer, path, x)
    try:
        answer = ours(path, x, importer)
    except BadInput:
        return
    assert theirs is not None
    np.testing.assert_allclose(answer.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("importer", "graph"), PAIRS)
def test_check_says_what_the_importer_does(tmp_path: Path, importer: str, graph: str) -> None:
    path, x = save(GRAPHS[graph], tmp_path / "a.nir")
    x = x[:1]
    np.save(tmp_path / "x.npy", x)
    found = next(row for row in check(path, tmp_path / "x.npy").rows if row.name == importer)
    theirs = stock(importer, path, x)
    if found.answer:
        stepper = Stepper(read(path, Rules()), 1)
        right = np.stack([stepper.step(x[:, t])[stepper.program.output] for t in range(x.shape[1])], axis=1)
        assert theirs is not None
        wrong = ~np.isclose(theirs, right.reshape(theirs.shape), rtol=1e-3, atol=1e-3)
        assert (found.status == "differs") == wrong.any()
        if stepper.program.spiking:
            assert found.differ == wrong.sum()
    elif "stops at" in found.cause and "other" not in found.cause:
        assert theirs is None


@pytest.mark.parametrize("importer", ["norse", "sinabs"])
def test_what_is_dropped_is_as_if_it_were_not_there(tmp_path: Path, importer: str) -> None:
    row = importers.importer(importer)
    dropped = [
        k for k, (_, shape) in LONE.items() if shape == (N,) and k.isalpha() and k not in {*row.takes, *row.apart}
    ]
    assert {"Scale", "Threshold", "Delay", "I"} <= set(dropped)
    path, x = save(chain([affine(), lif()], (N,)), tmp_path / "without.nir")
    without = IMPORTERS[importer](path, x)
    for kind in dropped:
        path, x = save(chain([affine(), LONE[kind][0]], (N,)), tmp_path / "last.nir")
        last = IMPORTERS[importer](path, x)
        alone, _ = save(chain([affine()], (N,)), tmp_path / "alone.nir")
        np.testing.assert_array_equal(last, IMPORTERS[importer](alone, x), err_msg=kind)
    assert without.max() >= 1


def test_sinabs_integrate_and_fire_sends_several_spikes_and_has_a_floor(tmp_path: Path) -> None:
    """What NIR says fires otherwise: the rule of Sinabs is an operation of its own."""
    path, x = save(chain([nir.IF(np.ones(N), np.full(N, 0.5))], (N,)), tmp_path / "if.nir")
    theirs = IMPORTERS["sinabs"](path, x)
    assert theirs.max() > 1
    v, expected = np.zeros((2, N), np.float32), []
    for t in range(x.shape[1]):
        v = v + x[:, t]
        spikes = np.where(v > 0, np.trunc(v / np.float32(0.5)), 0)
        v = np.maximum(v - spikes * np.float32(0.5), -0.5)
        expected.append(spikes)
    np.testing.assert_array_equal(theirs, np.stack(expected, axis=1))
    np.testing.assert_array_equal(ours(path, x, "sinabs").reshape(theirs.shape), theirs)


@st.composite
def sinabs_networks(draw: st.DrawFn) -> list[nir.NIRNode]:
    """Up to six nodes in a row that Sinabs takes; sums are exact, so that numbers of spikes are equal or wrong."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    size, nodes = N, []
    for name in draw(st.lists(st.sampled_from(["affine", "lif", "lif", "if", "li"]), min_size=1, max_size=6)):
        zero = np.zeros(size, kind)
        if name == "affine":
            entering, size = size, int(rng.integers(1, 6))
            weight, bias = rng.integers(-6, 9, (size, entering)) / 8, rng.integers(-2, 3, size) / 8
            nodes.append(nir.Affine(weight.astype(np.float32), bias.astype(np.float32)))
        elif name == "lif":
            tau = rng.uniform(0.3, 20, size).astype(kind)
            nodes.append(nir.LIF(tau, zero + 1, zero, rng.uniform(0.1, 1.5, size).astype(kind), zero))
        elif name == "if":
            nodes.append(nir.IF(zero + 1, zero + rng.integers(1, 9) / 4, zero))
        else:
            nodes.append(nir.LI(rng.uniform(0.3, 20, size).astype(kind), zero + 1, zero))
    return nodes


@given(sinabs_networks(), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_as_importer_sinabs_is_sinabs_after_every_layer(nodes: list[nir.NIRNode], seed: int) -> None:
    x = np.random.default_rng(seed).integers(-8, 17, (2, 30, N)).astype(np.float32) / 4
    with tempfile.TemporaryDirectory() as folder:
        for many in range(1, len(nodes) + 1):
            held = {"input": nir.Input(np.array([N])), **dict(zip("abcdef", nodes[:many], strict=False))}
            held["output"] = nir.Output(np.asarray(nodes[many - 1].output_type["output"]))
            path, _ = save(wired(held, list(itertools.pairwise(held))), Path(folder, "a.nir"))
            theirs = IMPORTERS["sinabs"](path, x)
            program = read(path, Rules(integrate="as-importer:sinabs"))
            # at a tie, and where torch's exp isn't the nearest float32, one of the two has what Sinabs mixes
            answers = [
                fire(program, x, dtype, (program.output,)).spikes[program.output] for dtype in ("float32", "float64")
            ]
            alike = [np.isclose(answer.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4) for answer in answers]
            assert np.logical_or(*alike).all()


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 300), marks=pytest.mark.slow)], ids=str)
def test_random_graphs_run_as_the_importer_runs_them(tmp_path: Path, importer: str, seeds: range) -> None:
    """On 300 graphs: where its rule answers, it is with its own values."""
    platform, answered = next(row for row in PLATFORMS if row.importer == importer), 0
    for seed in seeds:
        path, x = save(drawn(seed), tmp_path / "a.nir")
        try:
            program = platform.machine(Rules()).program(load(path))
        except BadInput:
            continue
        theirs = stock(importer, path, x)
        assert theirs is not None, seed
        # at a tie its own float32 may fall on either side
        answers = [
            fire(program, x, dtype, (program.output,)).spikes[program.output] for dtype in ("float32", "float64")
        ]
        alike = [np.isclose(answer.reshape(theirs.shape), theirs, rtol=1e-3, atol=1e-3) for answer in answers]
        assert np.logical_or(*alike).all(), seed
        answered += 1
    assert answered > 5


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 60), marks=pytest.mark.slow)], ids=str)
def test_check_says_what_the_importer_does_with_random_graphs(tmp_path: Path, importer: str, seeds: range) -> None:
    seen = set()
    for seed in seeds:
        path, x = save(drawn(seed), tmp_path / "a.nir")
        try:
            found = next(row for row in check(path, x).rows if row.name == importer)
        except BadInput:
            continue
        theirs = stock(importer, path, x)
        if found.answer:
            verdict = judge(importer, IMPORTERS[importer], path, x)
            inner = found.first is not None and found.outputs == 0 and verdict.status == "exact"  # the output is alike
            assert inner or verdict.status == {"same": "exact", "differs": "by rule"}[found.status], seed
        elif found.status == "refused" and "stops at" in found.cause:
            assert theirs is None, seed
        seen.add(found.status)
    assert {"refused"} < seen


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[running.Table, Path]:
    warnings.simplefilter("ignore")
    folder = tmp_path_factory.mktemp("errors")
    return running.run(installed(), folder), folder


def test_the_page_is_up_to_date(table: tuple[running.Table, Path]) -> None:
    for name in OURS:
        if name not in installed():
            pytest.skip(f"{name} is not installed: pip install 'spikestrip[peers]'")
    written = (ROOT / "docs" / "nir-importers.md").read_text()
    assert page.markdown(table[0]) == written, "python -m simulators.conformance nir -o FOLDER"


def test_the_table_knows_what_is_known(table: tuple[running.Table, Path]) -> None:
    rows = {graph: {name.split()[0]: verdict for name, verdict in row.items()} for graph, row in table[0].items()}
    assert rows["LIF"]["snntorch"].status == "exact"
    assert rows["LIF"]["sinabs"].status == "by rule"
    assert rows["Delay"]["snntorch"].status == "refuses"
    assert rows["Affine, Scale, LIF"]["sinabs"].status == "silently wrong"
    assert "drops without a word" in rows["Affine, Scale, LIF"]["sinabs"].cause
    assert rows["cycle: two LIF"]["snntorch"].status == "unsaid"
    assert rows["Affine"]["nirtorch"].status == "silently wrong"


def test_every_silent_error_leaves_a_reproducer_that_fails(table: tuple[running.Table, Path]) -> None:
    wrong = [verdict for row in table[0].values() for verdict in row.values() if verdict.status == "silently wrong"]
    left = sorted(table[1].iterdir())
    assert len(left) == len(wrong)
    for folder in (left[0], left[-1]):
        ran = subprocess.run([sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 1, ran.stderr
        assert "Traceback" not in ran.stderr
        assert ran.stdout.startswith("right")


def test_names_of_plug_ins_are_escaped_and_badges_are_svg(table: tuple[running.Table, Path]) -> None:
    named = {graph: {"<script>": next(iter(row.values()))} for graph, row in table[0].items()}
    (badge,) = page.badges(named)
    assert ElementTree.fromstring(badge.svg).tag.endswith("svg")
    assert sum(badge.counts.values()) == len(GRAPHS)
    assert "<script>" not in page.page(named)


def test_an_importer_of_others_joins_the_table(tmp_path: Path) -> None:
    path, x = save(GRAPHS["Affine"], tmp_path / "a.nir")
    assert judge("theirs", lambda path, x: np.zeros((2, 60, N)), path, x).cause == "no rule of it is known here"
    weight, bias = affine().weight, affine().bias
    assert judge("theirs", lambda path, x: x @ weight.T + bias, path, x).status == "exact"
