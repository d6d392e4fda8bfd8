"""The report: what a run folder holds is on the page, what it lacks is named, and nothing comes from elsewhere."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from commands import run
from rich.console import Console

from deploy.report import command, summary_table
from deploy.verify import verify
from simulators.backends.numpy import NumpyBackend
from simulators.run import simulate
from spikestrip import trace

BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every part, small: 4 samples, 50 steps, an sdn reference that is wrong about 3 spikes."""
    folder = tmp_path_factory.mktemp("run")
    program = programs.network(np.random.default_rng(0), inputs=1, hidden=10, classes=4)
    x = programs.gaussian(np.random.default_rng(1), program, 4, 50)
    iterative = simulate(program, x, NumpyBackend())
    parallel = simulate(program, x, NumpyBackend())
    parallel.attrs |= {"form": "parallel", "parallel": "sdn", "device": "cpu", "dtype": "float32"}
    train = parallel.spikes["n06_block1_spike"].copy()
    train[2, [10, 20, 30], 4] ^= 1
    parallel.spikes["n06_block1_spike"] = train
    parallel.events = {}
    trace.write(folder / "reference.parallel.h5", parallel)
    trace.write(folder / "reference.iterative.h5", iterative)
    labels = iterative.output.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 4  # 3 of 4 right
    np.save(folder / "labels.npy", labels)
    (folder / "verdict.parallel.json").write_text(json.dumps(verify(parallel, iterative, program).to_dict()))
    for name in BACKENDS:
        recorded = simulate(program, x, NumpyBackend(), attrs={"backend": name})
        trace.write(folder / f"trace.{name}.h5", recorded)
        (folder / f"verdict.{name}.json").write_text(json.dumps(verify(iterative, recorded, program).to_dict()))
    metrics = {"task": "<b>digits</b>", "accuracy": 0.875, "parallel_accuracy": 0.9, "spiking_rate": 0.2}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name in ("ckpt.pt", "model.nir", "model.onnx"):
        (folder / name).write_bytes(b"")
    return folder


class Page(HTMLParser):
    """The table's cells, row by row, all text, and every address that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.cell = False
        self.text = ""
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        self.cell = tag == "td"
        if self.cell:
            self.rows[-1].append("")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag != "td"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data


def page(folder: Path, out: Path) -> Page:
    assert run(command, folder, "-o", out).code == 0
    return Page(out.read_text(encoding="utf-8"))


def test_a_whole_folder(whole: Path, tmp_path: Path) -> None:
    found = page(whole, tmp_path / "report.html")
    rows = {row[0]: row for row in found.rows if row}
    assert set(rows) == {"parallel (sdn)", "iterative", *BACKENDS}
    verdict = json.loads((whole / "verdict.parallel.json").read_text())
    assert rows["parallel (sdn)"][4] == str(verdict["differ"]) == "3"
    assert "undeclared" in rows["parallel (sdn)"][5]
    assert all(rows[name][2] == "75.0%" and rows[name][4] == "0" and rows[name][6] == "pass" for name in BACKENDS)
    assert "CPU reference" in found.text
    assert "Missing" not in found.text
    first = verdict["first"]
    assert f"first at step {first['step']} in layer n06_block1_spike, sample 2, neuron 4" in found.text
    assert "<b>digits</b>" in found.text  # as text, not as markup
    assert "87.5%" in found.text


def test_it_opens_from_disk(whole: Path, tmp_path: Path) -> None:
    found = page(whole, tmp_path / "report.html")
    assert all(re.match(r"#|data:image/png;base64,", address) for address in found.addresses)
    assert found.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"@import|url\((?!#)", (tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_same_folder_gives_the_same_page(whole: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        page(whole, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def copied(whole: Path, to: Path, *names: str) -> Path:
    to.mkdir()
    for name in names:
        (to / name).write_bytes((whole / name).read_bytes())
    return to


def test_what_is_missing_is_named(whole: Path, tmp_path: Path) -> None:
    few = copied(whole, tmp_path / "few", "trace.numpy.h5")
    found = page(few, tmp_path / "report.html")
    for name in ("metrics.json", "model.nir", "reference.parallel.h5", "trace.lava.h5", "verdict.numpy.json"):
        assert name in found.text
    assert "not verified" in found.text
    assert "CPU reference" not in found.text
    rows = {row[0]: row for row in found.rows if row}
    assert rows["numpy"][2] == rows["numpy"][4] == "\N{EN DASH}"
    assert rows["numpy"][6] == "missing"


def test_a_failed_verdict_shows(whole: Path, tmp_path: Path) -> None:
    names = [file.name for file in whole.iterdir()]
    broken = copied(whole, tmp_path / "broken", *names)
    verdict = json.loads((broken / "verdict.lava.json").read_text())
    verdict |= {"verdict": "fail", "differ": 7, "causes": {"delay": 7}, "failures": ["delay: trace is 1 step late"]}
    (broken / "verdict.lava.json").write_text(json.dumps(verdict))
    found = page(broken, tmp_path / "report.html")
    assert "not verified" in found.text
    assert "delay: trace is 1 step late" in found.text
    assert ["delay 7", "fail"] in [row[5:7] for row in found.rows]


def test_the_terminal_table_fits_80_columns(whole: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table(whole))
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for name in BACKENDS:
        assert re.search(rf"{name} +75\.0% +0 .*pass", text)


@pytest.mark.parametrize("damage", ["nothing", "not a folder", "metrics.json", "labels.npy", "trace.numpy.h5"])
def test_a_damaged_folder_is_refused(whole: Path, tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "run"
    if damage != "not a folder":
        copied(whole, folder, *(() if damage == "nothing" else ("trace.torch.h5",)))
        if damage != "nothing":
            (folder / damage).write_bytes(b"\x93NUMPY not a file {")
    done = run(command, folder, "-o", tmp_path / "report.html")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "report.html").exists()
