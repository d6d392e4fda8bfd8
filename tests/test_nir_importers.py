"""What ``as-importer:`` and ``check`` say of other importers is what the real ones do, on every kind of graph."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import nir
import numpy as np
import pytest
from importer_graphs import LONE, N, affine, chain, graphs, lif, save
from importers_table import PAGE, page
from stock_importers import IMPORTERS

from convert.formats.nir.platforms import importers
from convert.formats.nir.reading import Rules, read
from deploy.checking import check
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper

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
    spiking = (answer == answer.astype(bool)).all()
    if importer == "sinabs" and spiking:
        # told in a remark: the spikes are the same in each sample and neuron until the first that is several
        alike = np.cumsum(theirs > 1, axis=1) == 0
        assert alike.any()
        theirs, answer = theirs * alike, answer * alike
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


def test_page_is_up_to_date(tmp_path: Path) -> None:
    for name in ("norse", "spikingjelly"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'spikestrip[peers]'")
    assert page() == PAGE.read_text(), "python tests/importers_table.py"
