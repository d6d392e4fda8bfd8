"""Every benchmark runs, gives what its page takes, and docs/benchmarks.md is the page of what was stored."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from commands import run

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'spikestrip[report]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'spikestrip[train]'")
ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import growth  # noqa: E402
import measuring  # noqa: E402
import page  # noqa: E402
import train_speed  # noqa: E402

SLOW = ("convert_cost", "threads", "training_step")
"""Those that start several processes with torch."""


def stored() -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "benchmarks.json").read_text())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in page.NAMES]
)
def test_it_runs_and_the_page_shows_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = CliRunner().invoke(importlib.import_module(name).main, ["--smoke", "--json", str(path)])
    assert not done.exit_code, done.output
    made = json.loads(path.read_text())
    assert made["smoke"]
    tables = {name: rows for name, rows in made.items() if isinstance(rows, list)}
    assert made.keys() == stored()[name].keys()
    for rows in tables.values():
        for row in rows:
            assert all(value is None or math.isfinite(value) for value in row.values() if not isinstance(value, str))
            if "times" in row:
                assert 0 < row["times_least"] <= row["times_most"]
    text = page.render(stored() | {name: made})
    assert text != page.render(stored())
    for rows in tables.values():
        for row in rows:
            if "ms" in row:
                assert page.cell(row["ms"]) in text or name == "growth"  # whose points are in the plot


def test_what_is_asked_for_is_measured_and_plotted(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    done = CliRunner().invoke(
        train_speed.main, ["--json", str(path), "--lengths", "16,32", "--methods", "bptt,scan", "--rows", "3"]
    )
    assert not done.exit_code, done.output
    rows = json.loads(path.read_text())["rows"]
    asked = [(method, length, 3) for length in (16, 32) for method in ("bptt", "scan")]
    assert [(row["method"], row["L"], row["rows"]) for row in rows] == asked
    assert all(row["ms"] > 0 for row in rows)
    assert path.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize("bad", [("--methods", "scan,unknown"), ("--lengths", "16,x"), ("--rows", "0")])
def test_what_cannot_be_measured_is_named(bad: tuple[str, str], tmp_path: Path) -> None:
    done = CliRunner().invoke(train_speed.main, ["--json", str(tmp_path / "speed.json"), *bad])
    assert done.exit_code == 2
    assert bad[0] in done.output
    assert not [*tmp_path.iterdir()]


def test_the_page_is_that_of_the_stored_figures() -> None:
    reports = stored()
    assert (ROOT / "docs" / "benchmarks.md").read_text() == page.render(reports)
    assert not any(each["smoke"] for each in reports.values())


def test_make_bench_runs_what_the_page_reads() -> None:
    line = next(text for text in (ROOT / "Makefile").read_text().splitlines() if text.startswith("BENCHMARKS :="))
    assert line.split(":=")[1].split() == list(page.NAMES)


def test_smoke_is_not_a_measurement(tmp_path: Path) -> None:
    for name, each in stored().items():
        (tmp_path / f"{name}.json").write_text(json.dumps(each | {"smoke": name == page.NAMES[-1]}))
    before = (ROOT / "docs" / "benchmarks.md").read_text()
    done = run(page.command, tmp_path)
    assert done.code == 2
    assert f"{page.NAMES[-1]}.json" in done.stderr
    assert (ROOT / "docs" / "benchmarks.md").read_text() == before


def test_methods_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def timer(name: str, *times: float) -> measuring.Timer:
        left = iter(times)

        def timed() -> float:
            order.append(name)
            return next(left)

        return timed

    times = measuring.take_turns({"slow": timer("slow", 900, 8, 6, 40), "fast": timer("fast", 1, 2, 3, 4)}, 3)
    assert order == ["slow", "fast"] * 4
    assert times == {"slow": [8, 6, 40], "fast": [2, 3, 4]}
    slow, fast = measuring.compared(times, "slow", "method", rows=7)
    assert slow["times"] == 1
    assert fast == {"method": "fast", "rows": 7, "ms": 3, "times": 2.667, "times_least": 2, "times_most": 10}


def test_a_short_call_is_repeated_for_its_spell() -> None:
    ticks = iter(range(1000))
    calls: list[None] = []
    milliseconds = measuring.timer(lambda: calls.append(None), lambda: next(ticks) / 1000, spell=0.01)()
    assert milliseconds == pytest.approx(1)
    assert len(calls) == 11


def test_a_child_has_its_own_settings_and_says_when_it_ends() -> None:
    code = "import os\ndef call():\n    assert os.environ['SETTING'] == 'own'\n"
    with measuring.Child(code, "process_time", {"SETTING": "own"}) as child:
        assert child() >= 0
        assert child() >= 0
    with measuring.Child(code, "process_time", {"SETTING": "other"}) as child, pytest.raises(click.ClickException):
        child()


def test_an_absent_library_is_a_row() -> None:
    made, absent = measuring.installed({"json": lambda: json, "none": lambda: importlib.import_module("no_such")})
    assert made == {"json": json}
    assert [row["name"] for row in absent] == ["none"]


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_an_exponent_is_that_of_the_larger_sizes(power: float) -> None:
    sizes = [1, 2, 4, 8, 16, 32, 64]
    values = [100.0] * 3 + [float(size**power) for size in sizes[3:]]
    assert growth.exponent(sizes, values) == power


def test_an_aim_is_judged_by_its_row() -> None:
    def judged(value: float, at_most: bool) -> str:
        aim = page.Aim("x", "name", "table", {"step": "ours"}, 2.0, at_most=at_most)
        rows = [{"step": "theirs", "times": 100.0}, {"step": "ours", "times": value}]
        return aim.cells({"name": {"table": rows}})[-1]

    assert judged(2.5, at_most=False) == judged(1.5, at_most=True) == "reached"
    assert judged(1.5, at_most=False) == judged(2.5, at_most=True) == "**missed**"
