"""The table of module kinds: each exact or refused by name, as docs/modules.md says; none crashes."""

from __future__ import annotations

import pytest
from module_kinds import EXACT, HEAD, HOMES, PAGE, ROWS, Row, outcome

pytestmark = pytest.mark.filterwarnings("ignore")
LINES = PAGE.read_text().removeprefix(HEAD).splitlines()[2:]


@pytest.mark.parametrize("place", range(len(ROWS)), ids=[f"{row.library} {row.kind}" for row in ROWS])
def test_each_kind_is_as_the_page_says(place: int) -> None:
    row: Row = ROWS[place]
    pytest.importorskip(row.home, reason=f"{row.library} is not installed: pip install 'spikestrip[peers]'")
    assert LINES[place] == f"| {row.library} | {row.kind} | {outcome(row).replace('|', '/')} |"


def test_the_page_has_every_row_in_its_place_and_no_other() -> None:
    """Those too whose library is not installed here, and whose outcome nothing checks."""
    assert PAGE.read_text().startswith(HEAD)
    assert [line.split(" | ")[:2] for line in LINES] == [[f"| {row.library}", row.kind] for row in ROWS]
    assert {row.library for row in ROWS} == set(HOMES)


def test_the_table_is_long_and_says_why() -> None:
    assert len(LINES) == len(ROWS) >= 60
    refused = [line for line in LINES if not line.endswith(f"| {EXACT} |")]
    assert 20 < len(refused) < len(ROWS) - 30
    assert all(len(line.split(" | ")[-1]) > 40 for line in refused)
