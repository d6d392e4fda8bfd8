"""The page of dialects is what the writer answers today, and the stock importers hold what it calls exact."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
from stock_importers import STOCK

from convert.formats.nir.writing import write
from simulators.backends.torch import TorchBackend
from simulators.conformance import Case
from simulators.conformance.dialects import EXACT, answer, page, suite
from spikestrip.errors import Refused

PAGE = Path(__file__).parent.parent / "docs" / "nir-dialects.md"
SUITE = suite()
CLAIMED = [
    pytest.param(dialect, case, id=f"{dialect}-{case.operation}-{case.situation}")
    for dialect in STOCK
    for case in SUITE
    if answer(case.program, dialect) == EXACT
]


def test_page_is_up_to_date() -> None:
    assert page(SUITE) == PAGE.read_text(), "python -m simulators.conformance.dialects -o docs/nir-dialects.md"


@pytest.mark.parametrize(("dialect", "case"), CLAIMED)
def test_stock_importer_holds_what_is_called_exact(tmp_path: Path, dialect: str, case: Case) -> None:
    write(case.program, tmp_path / "model.nir", dialect)
    most = float(nir.read(tmp_path / "model.nir").metadata.get("max_input", np.inf))
    x = np.clip(case.input, -most, most)
    ours = TorchBackend().run(case.program, x, "float32", "cpu", lambda done: None)
    if case.operation.startswith("lif") and case.operation.endswith("_layer"):  # two silent networks are the same
        assert all(0.01 < train.mean() < 0.99 for train in ours.spikes.values())
    error = np.abs(STOCK[dialect](tmp_path / "model.nir", x) - ours.output)
    # a dot product rounds as its library and processor do: the case says how far it may
    assert (error <= case.tolerance * np.maximum(1, np.abs(ours.output))).all()


def test_both_importers_run_layers_and_networks() -> None:
    claimed = {tuple(parameter.id.split("-")) for parameter in CLAIMED if parameter.id}
    for dialect, operation in (("snntorch", "lif_hard_layer"), ("sinabs", "lif_soft_layer")):
        assert claimed >= {(dialect, operation, situation) for situation in ("one", "two", "no_bias", "two_streams")}


def test_a_refused_program_leaves_no_file(tmp_path: Path) -> None:
    for dialect in STOCK:
        for case in SUITE:
            if answer(case.program, dialect) != EXACT:
                with pytest.raises(Refused, match=r"^n"):
                    write(case.program, tmp_path / "model.nir", dialect)
                assert list(tmp_path.iterdir()) == []
