"""docs/benchmarks.md and its plots, from what the benchmarks measured: the last step of ``make bench``.

python benchmarks/page.py runs/bench

Reads NAME.json of every benchmark, and keeps them all in docs/benchmarks.json, from which the page can be made again.
The words are in page.md.jinja; no figure is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import plots
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import atomic, existing

DOCS = Path(__file__).parents[1] / "docs"
NAMES = (
    "train_speed", "training_step", "threads", "pmbc_cost", "ssm_kernel", "simulate", "verification", "convert_cost",
    "start", "growth",
)  # fmt: skip
Reports = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Aim:
    """What was to be reached: ``column`` of the row of ``table`` in ``benchmark`` that has the values of ``row``."""

    what: str
    benchmark: str
    table: str
    row: dict[str, Any]
    limit: float
    column: str = "times"
    at_most: bool = False

    def cells(self, reports: Reports) -> tuple[str, ...]:
        """what, aim, measured, reached or missed."""
        found = [row for row in reports[self.benchmark][self.table] if self.row.items() <= row.items()]
        aim = f"at {'most' if self.at_most else 'least'} {cell(self.limit)}"
        if not found:
            return self.what, aim, "not measured", "-"
        value = found[0][self.column]
        reached = value <= self.limit if self.at_most else value >= self.limit
        return self.what, aim, cell(value), verdict(reached)


RASTER = "raster beside its oracle, engine and ledger, times, batch"
AIMS = (
    Aim(f"{RASTER} 64", "simulate", "oracle", {"backend": "raster", "batch": 64}, 7),
    Aim(f"{RASTER} 1", "simulate", "oracle", {"backend": "raster", "batch": 1}, 12),
    Aim("raster in float64 beside snnTorch's loop in float32, times, batch 64", "simulate", "snntorch",
        {"engine": "raster, float64", "batch": 64}, 2),
    Aim("training step, H = 64, `fused` beside the scan of 8d02500, times", "training_step", "since",
        {"step": "fused", "d_model": 64}, 1.8),
    *(Aim(f"two threads beside one, `{form}`, busy processes beside them {busy}, times", "threads", "threads",
          {"step": "two threads, as train has them", "parallel": form, "busy": busy}, 1)
        for form in ("scan", "fused") for busy in (1, 2)),
    Aim("a step with PMBC, M = 8, beside the scan's, times as fast, initialised", "pmbc_cost", "pmbc",
        {"form": "pmbc, M = 8", "trained_steps": 0}, 0.25),
    Aim("the same after an epoch", "pmbc_cost", "pmbc", {"form": "pmbc, M = 8", "trained_steps": 80}, 0.25),
    Aim("a step with PMBC, converged, beside the scan's, times as fast, initialised", "pmbc_cost", "pmbc",
        {"form": "pmbc, converged", "trained_steps": 0}, 0.25),
    Aim("the same after an epoch", "pmbc_cost", "pmbc", {"form": "pmbc, converged", "trained_steps": 80}, 0.25),
    Aim("`spikestrip --help`, ms", "start", "start", {"command": "spikestrip --help"}, 250, "ms", at_most=True),
)  # fmt: skip


LINEAR = 1.1
"""An exponent up to which a growth counts as linear: it is a fit to a few measured times."""


def verdict(reached: bool) -> str:
    return "reached" if reached else "**missed**"


def growth_cells(reports: Reports) -> tuple[str, ...]:
    """The same of what grows worst with T, B or the number of blocks; with H a mix's weights are its square."""
    rows = [row for row in reports["growth"]["exponents"] if row["axis"] != "H" and row["exponent"]]
    worst = max(rows, key=lambda row: row["exponent"])
    said = f"growth with T, B and blocks, largest exponent ({worst['what']}, with {worst['axis']})"
    return said, f"linear: at most {LINEAR}", cell(worst["exponent"]), verdict(worst["exponent"] <= LINEAR)


def cell(value: Any) -> str:
    """As it stands in a table: three digits of a number with a fraction."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def table(rows: list[dict[str, Any]], *columns: str) -> str:
    """Markdown of ``rows``; a column is its key, or ``key=heading``."""
    keys, heads = zip(*(column.split("=") if "=" in column else (column, column) for column in columns), strict=True)
    return markdown(heads, ([cell(row[key]) for key in keys] for row in rows))


def pivot(rows: list[dict[str, Any]], key: str, by: list[str], *columns: str) -> str:
    """Markdown with a line for each ``key``, and for each size, the values of ``by``, a cell of each column."""
    sizes = list(dict.fromkeys(tuple(row[name] for name in by) for row in rows))
    pairs = [column.split("=") if "=" in column else (column, column) for column in columns]
    heads = [key]
    for size in sizes:
        said = ", ".join(f"{name} {cell(value)}" for name, value in zip(by, size, strict=True))
        heads += [f"{said}: {pairs[0][1]}", *(head for _, head in pairs[1:])]
    lines = []
    for name in dict.fromkeys(row[key] for row in rows):
        line = [cell(name)]
        for size in sizes:
            found = [row for row in rows if row[key] == name and tuple(row[each] for each in by) == size]
            line += [cell(found[0][column]) if found else "-" for column, _ in pairs]
        lines.append(line)
    return markdown(heads, lines)


def markdown(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def render(reports: Reports) -> str:
    """The page. KeyError or UndefinedError where a report lacks a table or a column that it shows."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["cell"] = cell
    aims = markdown(("", "aim", "measured", ""), [*(aim.cells(reports) for aim in AIMS), growth_cells(reports)])
    seconds = sum(report["seconds"] for report in reports.values())
    loads = [report["machine"][when] for report in reports.values() for when in ("load_before", "load_after")]
    return environment.get_template("page.md.jinja").render(
        reports, aims=aims, table=table, pivot=pivot, seconds=seconds, loads=loads,
        machine=reports["training_step"]["machine"],
    )  # fmt: skip


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    reports: Reports = {}
    for name in NAMES:
        path = existing(folder / f"{name}.json")
        try:
            reports[name] = json.loads(path.read_text())
        except ValueError as error:
            raise BadInput(path, f"is not JSON ({error})") from error
        if reports[name]["smoke"]:
            raise BadInput(path, "was measured with --smoke: its times say nothing")
    for target, text in (("benchmarks.json", json.dumps(reports, indent=1) + "\n"), ("benchmarks.md", render(reports))):
        with atomic(DOCS / target) as temporary:
            temporary.write_text(text)
    plots.growth(reports["growth"]["points"], DOCS / "growth.png")
    for name in ("train_speed", "simulate"):
        plots.methods(reports[name]["rows"], DOCS / f"{name}.png")


if __name__ == "__main__":
    main(command)
