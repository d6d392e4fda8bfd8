"""The report: what a run folder holds is said, what it lacks is named, and nothing comes from elsewhere."""

from __future__ import annotations

import io
import json
import re
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import programs
import pytest
import run_folders
from commands import run
from rich.console import Console
from run_folders import BACKENDS, FLIPPED, HOSTILE, WRONG

import deploy.reporting
from convert.formats.nir import reading
from deploy.report import command, summary_table
from deploy.reporting import course, drawn, facts, words
from deploy.reporting.folder import RunFolder
from deploy.verification.causes import CAUSES
from deploy.verification.differences import Listed
from deploy.verification.replay import entering, potentials
from deploy.verify import verify
from simulators.run import simulate
from spikestrip import trace
from spikestrip.operations import LIF, S4D

SCHEMA = json.loads((Path(deploy.reporting.__file__).parent / "report.schema.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folders.whole(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert run(command, whole, "-o", out).code == 0
    return out


class Page(HTMLParser):
    """The cells of the table of runs, row by row, all text, and every address that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.cell = self.table = self.script = False
        self.text = ""
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.table = "runs" in (dict(attrs).get("class") or "").split()
        if tag == "tr" and self.table:
            self.rows.append([])
        self.cell = tag == "td" and self.table
        if self.cell:
            self.rows[-1].append("")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["script"]:
            self.text += data
        if self.cell:
            self.rows[-1][-1] += data

    def column(self, name: str, of: str) -> str:
        return next(row for row in self.rows if row and row[0] == of)[words.COLUMNS.index(name)]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def copied(whole: Path, to: Path, *names: str) -> Path:
    """A folder with these files of ``whole``, or all."""
    shutil.copytree(whole, to, ignore=None if not names else lambda _, found: set(found) - set(names))
    return to


def test_a_whole_folder(whole: Path, html: Path) -> None:
    found = read(html)
    assert {row[0] for row in found.rows if row} == {"parallel (sdn)", "iterative", *BACKENDS}
    assert found.column("differ", "parallel (sdn)") == "3"
    assert "undeclared" in found.column("by cause", "parallel (sdn)")
    for name in BACKENDS:
        columns = {column: found.column(column, name) for column in ("right", "agreement", "differ", "verdict")}
        assert columns == {"right": "3 of 4", "agreement": "100.00%", "differ": "0", "verdict": "pass"}
    assert "CPU reference" in found.text
    assert "Missing" not in found.text
    assert f"first at step 10 in layer {WRONG}, sample 2, neuron 4" in found.text
    assert f"task {HOSTILE}" in found.text  # as text, not as markup


def test_accuracy_on_the_test_set_is_not_that_of_the_sequences_shown(html: Path) -> None:
    text = re.sub(r"\s+", "", read(html).text)
    assert "Onthewholetestset:1,000held-outsequencesaccuracy,astrainedinparallel90.00%" in text
    assert "accuracy,stripped87.50%" in text
    assert "75.0%" not in text  # 3 of 4 is no accuracy


def test_it_opens_from_disk(html: Path) -> None:
    found, text = read(html), html.read_text(encoding="utf-8")
    assert not found.addresses
    assert set(found.tags).isdisjoint({"link", "iframe", "object", "img"})
    assert found.tags.count("script") == 3  # the library, what is drawn, and what draws it
    assert "default-src 'none'" in text  # the browser refuses what this test overlooks
    assert not re.search(r"@import|url\((?!#)", text)


def test_the_same_folder_gives_the_same_page(whole: Path, html: Path, tmp_path: Path) -> None:
    assert run(command, whole, "-o", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_bytes() == html.read_bytes()


def test_several_folders_on_one_page(whole: Path, tmp_path: Path) -> None:
    other = copied(whole, tmp_path / "other & <b>", "reference.iterative.h5", "trace.numpy.h5", "verdict.numpy.json")
    assert run(command, whole, other, "-o", tmp_path / "both.html").code == 0
    found = read(tmp_path / "both.html")
    assert found.text.count("Every run of the same program") == 2
    assert found.text.count("other & <b>") == 4  # title, head, row and tab: as text, not as markup
    done = run(command, whole, other)
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "--output" in done.stderr


def test_what_is_missing_is_named(whole: Path, tmp_path: Path) -> None:
    few = copied(whole, tmp_path / "few", "trace.numpy.h5")
    assert run(command, few).code == 0
    found = read(few / "report.html")
    for name in ("metrics.json", "model.nir", "reference.parallel.h5", "trace.lava.h5", "verdict.numpy.json"):
        assert name in found.text
    assert "Not verified: there is no verdict on numpy." in found.text
    assert "CPU reference" not in found.text
    assert found.column("right", "numpy") == found.column("differ", "numpy") == words.NOTHING
    assert found.column("verdict", "numpy") == "missing"


def test_a_failed_verdict_shows(whole: Path, tmp_path: Path) -> None:
    broken = copied(whole, tmp_path / "broken")
    verdict = json.loads((broken / "verdict.lava.json").read_text())
    verdict |= {"verdict": "fail", "differ": 7, "causes": {"delay": 7}, "failures": ["delay: trace is 1 step late"]}
    (broken / "verdict.lava.json").write_text(json.dumps(verdict))
    assert run(command, broken).code == 0
    found = read(broken / "report.html")
    assert "Not verified: parallel (sdn), lava fail" in found.text
    assert "delay: trace is 1 step late" in found.text
    assert (found.column("by cause", "lava"), found.column("verdict", "lava")) == ("delay 7", "fail")


def test_json_says_what_the_schema_promises(whole: Path, tmp_path: Path) -> None:
    assert run(command, whole, "-o", tmp_path / "r.json", "--format", "json").code == 0
    said = json.loads((tmp_path / "r.json").read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(said, SCHEMA)
    (one,) = said["folders"]
    rows = {row["run"]: row for row in one["rows"]}
    assert rows["parallel"]["agreement"] == 1 - 3 / 4000
    assert one["differences"]["parallel"]["layers"][WRONG]["differ"] == 3
    assert sum(one["differences"]["parallel"]["by_step"]["layers"][WRONG]) == 3
    assert one["certificate"]["arithmetics"]["float64"]["decisions"] == 4000
    assert [answer["chip"] for answer in one["fit"] if answer["fits"]] == ["Loihi 2"]
    totals = {bill["reading"]: bill["joules"] for bill in one["energy"]}
    assert totals["Loihi 2"] is totals["Speck"] is None  # nobody has published a price
    assert rows["numpy"]["joules"] == totals["event-driven, 45 nm, float32"]
    few = copied(whole, tmp_path / "few", "trace.numpy.h5")
    assert run(command, few, "--format", "json").code == 0
    jsonschema.validate(json.loads((few / "report.json").read_text()), SCHEMA)


def test_markdown_has_no_markup_of_names(whole: Path, tmp_path: Path) -> None:
    hostile = copied(whole, tmp_path / "a|b")
    assert run(command, hostile, "--format", "md").code == 0
    text = (hostile / "report.md").read_text()
    assert text.startswith("# a\\|b\n")
    assert "| numpy | cpu, float64 | 3 of 4 |" in text
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("| numpy")}
    assert columns == {len(words.COLUMNS) + 1}


def test_the_terminal_table_fits_80_columns(whole: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table(RunFolder(whole)))
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for name in BACKENDS:
        assert re.search(rf"{name} +3 of 4 +0 .*pass", text)


DAMAGED = ("metrics.json", "labels.npy", "trace.numpy.h5", "model.nir", "certificate.json", "verdict.torch.json")


@pytest.mark.parametrize("damage", ["nothing", "not a folder", *DAMAGED])
def test_a_damaged_folder_is_refused(whole: Path, tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "run"
    if damage == "nothing":
        folder.mkdir()
    elif damage != "not a folder":
        copied(whole, folder, "trace.torch.h5", "verdict.torch.json")
        (folder / damage).write_bytes(b"\x93NUMPY not a file {")
    done = run(command, folder, "-o", tmp_path / "report.html")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "report.html").exists()


def _swap_spikes(file: h5py.File) -> None:
    file[WRONG]["spike"][:] = 1 - file[WRONG]["spike"][:]


def _move_far(file: h5py.File) -> None:
    file[WRONG]["neuron"][:] = 10


def _other_cause(file: h5py.File) -> None:
    file[WRONG]["cause"][:] = len(CAUSES)


@pytest.mark.parametrize("damage", [_swap_spikes, _move_far, _other_cause])
def test_a_table_of_differences_that_does_not_fit_is_refused(whole: Path, tmp_path: Path, damage: Any) -> None:
    folder = copied(whole, tmp_path / "run")
    with h5py.File(folder / "verdict.parallel.differences.h5", "r+") as file:
        damage(file)
    done = run(command, folder)
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "verdict.parallel.differences.h5" in done.stderr
    assert not (folder / "report.html").exists()


def test_another_program_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "run")
    other = run_folders.whole(tmp_path / "other", programs.network(np.random.default_rng(9), hidden=10, classes=4))
    shutil.copy(other / "model.nir", folder / "model.nir")
    done = run(command, folder)
    assert done.code == 2
    assert "is not the program that reference.iterative.h5 is a run of" in done.stderr


def test_every_cause_is_explained() -> None:
    assert list(words.CAUSES) == list(CAUSES)


def test_what_is_drawn_is_what_was_recorded(whole: Path) -> None:
    """Spikes bit by bit, differences place by place, and u' as one neuron alone computes it from what it received."""
    folder = RunFolder(whole)
    _, payload = facts.look(folder)
    assert [one["sample"] for one in payload["samples"]] == [0, 1, 2, 3]
    spikes = folder.traces["iterative"].spikes[WRONG]
    bits = np.unpackbits(np.frombuffer(b64decode(payload["samples"][2]["spikes"][WRONG]), np.uint8))
    np.testing.assert_array_equal(bits[: spikes[2].size].reshape(spikes[2].shape), spikes[2])
    found = payload["runs"]["parallel"][2]
    assert set(zip([2] * 3, found["step"], found["neuron"], strict=True)) == FLIPPED
    assert found["others"] == [int(spikes[2, step, 4]) for step in (10, 20, 30)]
    assert found["fired"] == [1 - spike for spike in found["others"]]
    program = folder.program
    assert program is not None
    neuron = next(layer.operation for layer in program.layers if layer.name == WRONG)
    received = entering(program, folder.traces["parallel"].input, folder.traces["parallel"].spikes, [WRONG])[WRONG]
    u = potentials(neuron, received, folder.traces["parallel"].spikes[WRONG].astype(float))
    window = np.frombuffer(b64decode(found["run_potentials"]), "<f4").reshape(3, -1)
    width = drawn.AROUND
    np.testing.assert_allclose(window[1], u[2, 20 - width : 21 + width, 4], rtol=1e-6)
    assert np.isnan(window[0, : width - 10]).all()  # before the first step
    margins = u[2, [10, 20, 30], 4] - np.broadcast_to(neuron.threshold, u.shape[-1:])[4]
    np.testing.assert_allclose(found["run_margins"], margins, rtol=1e-12)


def listed(*places: tuple[int, int, int], causes: tuple[str, ...] = ()) -> Listed:
    sample, step, neuron = np.array(places, np.int64).reshape(-1, 3).T
    ones = np.ones(len(places), np.uint8)
    return Listed(sample, step, neuron, np.array(causes or ["tie"] * len(places)), ones, 1 - ones)


def test_stretches_of_differences() -> None:
    """By hand: neuron 0 of "a" differs from 3 to 9 (7 steps) and at 40 (1), in another sample at 90, near the end."""
    found = {"a": listed((0, 3, 0), (0, 5, 1), (0, 9, 0), (0, 40, 0), (1, 90, 0)), "b": listed((0, 5, 1))}
    lengths, unended = course.stretches(found, 95)
    assert sorted(lengths.tolist()) == [1, 1, 1, 1, 7]
    assert unended == 1
    nothing, _ = course.stretches({"a": listed()}, 95)
    assert nothing.size == 0
    assert sum(course.by_step(found, 95)["a"]) == 5


def test_pieces_cover_every_step() -> None:
    for steps in (1, 7, 98, 99, 784, 1000):
        edges = course.edges(steps)
        assert (edges[0], edges[-1]) == (0, steps)
        assert (np.diff(edges) > 0).all()
        counts = np.arange(2 * steps).reshape(2, steps)
        assert course.over_steps(counts).sum() == counts.sum()


def test_the_root_is_the_latest_that_reaches_it(whole: Path) -> None:
    """By hand: the second layer sees the first's spikes of the same step, a neuron its own of earlier ones."""
    program = RunFolder(whole).program
    assert program is not None
    layers = ["n02_block0_spike", WRONG]
    #         0 root   1 root  2 carried  3 root    4 carried  5 carried by its own past alone
    layer = np.array([0, 1, 1, 0, 1, 0])
    step = np.array([2, 3, 3, 5, 5, 6])
    neuron = np.array([0, 7, 1, 4, 1, 4])
    carried = np.array([False, False, True, False, True, True])
    roots = drawn._roots(program, layers, layer, step, neuron, carried)
    assert roots[[2, 4, 5]].tolist() == [[0, 1], [3, 2], [3, 1]]
    assert (roots[~carried] == drawn.NOWHERE).all()


def test_answers_in_the_course_of_time(whole: Path) -> None:
    """Had the input ended earlier, the answers are those of a run on the shorter input."""
    folder = RunFolder(whole)
    said = facts.facts(folder)["anytime"]
    assert folder.program is not None
    assert folder.labels is not None
    for at in (1, 17, 50):
        short = simulate(folder.program, folder.traces["iterative"].input[:, :at])
        share = np.mean(short.output.argmax(axis=1) == folder.labels)
        assert said["right"][said["steps"].index(at)] == share
    events = sum(int(table["synaptic_acs"].sum()) for table in folder.traces["iterative"].events.values())
    assert said["events"]["synaptic_acs"][-1] == pytest.approx(events / 4)


def test_modes_and_thresholds_are_the_programs(whole: Path) -> None:
    folder = RunFolder(whole)
    said, program = facts.facts(folder), folder.program
    assert program is not None
    for layer in program.layers:
        if isinstance(layer.operation, LIF):
            assert said["thresholds"][layer.name] == np.ravel(layer.operation.threshold).tolist()
        if isinstance(layer.operation, S4D):
            a = layer.operation.a_re + 1j * layer.operation.a_im
            found = said["modes"][layer.name]
            np.testing.assert_allclose(np.array(found["decay"]) * np.exp(1j * np.array(found["turn"])), a.ravel())


def test_a_share_never_rounds_up_to_all() -> None:
    assert words.share(1.0) == "100.00%"
    assert words.share(1 - 1e-7) == "99.999990%"
    assert words.share(0.99925) == "99.92%"


def test_either_side_may_be_the_reference_of_a_verdict(whole: Path, tmp_path: Path) -> None:
    """A user may verify the network as trained against the iterative run, or the other way round."""
    folder = copied(whole, tmp_path / "run")
    parallel, iterative = (trace.read(folder / f"reference.{name}.h5") for name in ("parallel", "iterative"))
    verify(iterative, parallel, reading.read(folder / "model.nir")).write(folder / "verdict.parallel.json")
    found, before = (facts.look(RunFolder(one))[1]["runs"]["parallel"][2] for one in (folder, whole))
    assert (found["fired"], found["others"]) == (before["fired"], before["others"])
