"""``spikestrip watch``: what a folder tells while it grows, who is told, and what a folder may be."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import run_folders
from commands import run
from run_folders import HOSTILE, WRONG

from deploy.reporting import stations, training
from deploy.watch import Server, command
from train import logs

ROOT = Path(__file__).resolve().parents[1]
HEADER = "epoch,method,accuracy,loss,validation_accuracy,seconds\n"
ROWS = [f"{epoch},scan,0.{epoch},{3 - epoch / 4},0.0{epoch},{10 + epoch}.0\n" for epoch in range(1, 11)]
CURVE = "step,epoch,loss\n50,1,2.9\n60,1,2.8\n110,2,2.6\n120,2,2.5\n"
ENDED = 1_700_000_000.0  # when the last epoch ended


def made(folder: Path, epochs: int = 4, options: str = "epochs = 10\n") -> Path:
    """A training's folder, by hand: its epochs take 11, 12, 13, ... seconds."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.toml").write_text(options)
    (folder / "epochs.csv").write_text(HEADER + "".join(ROWS[:epochs]))
    (folder / "curve.csv").write_text(CURVE)
    os.utime(folder / "epochs.csv", (ENDED, ENDED))
    os.utime(folder / "experiment.toml", (ENDED, ENDED))
    return folder


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def got(server: Server, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "method": "scan", "loss": 0.1 + 0.2}, {"epoch": 2, "method": "sdn", "loss": float("inf")}]
    logs.write(tmp_path / "log.csv", rows)
    found = logs.read(tmp_path / "log.csv", "epoch", "loss")
    assert found == {"epoch": [1, 2], "method": ["scan", "sdn"], "loss": [0.1 + 0.2, None]}


@pytest.mark.parametrize(
    ("epochs", "options", "age", "state", "left"),
    [
        (4, "epochs = 10", 5, "running", 6 * 12.5 - 5),
        (4, "epochs = 10", 59, "running", 6 * 12.5 - 59),
        (4, "epochs = 10", 61, "stalled", None),
        (9, "epochs = 10", 40, "running", 0),  # any moment now
        (10, "epochs = 10", 9999, "finished", None),
        (4, "epochs = 10\nminutes = 1.0", 5, "running", 60 - 50 - 5),
        (5, "epochs = 10\nminutes = 1.0", 5, "finished", None),
        (4, "", 5, "running", None),
        (0, "epochs = 10", 9999, "begun", None),
    ],
)
def test_how_far_it_is(tmp_path: Path, epochs: int, options: str, age: int, state: str, left: float | None) -> None:
    seen = training.look(made(tmp_path / "run", epochs, options), ENDED + age)
    facts = dict(seen["facts"])
    assert seen["state"] == state
    assert facts["epochs"] == f"{epochs} of 10" if options else f"{epochs}"
    said = facts.get("time left, estimated")
    assert said == (None if left is None else f"about {left:g} s")


def test_long_epochs_are_waited_for(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    (folder / "epochs.csv").write_text("epoch,seconds\n1,3600\n2,3000\n")
    os.utime(folder / "epochs.csv", (ENDED, ENDED))
    assert training.look(folder, ENDED + 3 * 3600 - 1)["state"] == "running"
    assert training.look(folder, ENDED + 3 * 3600 + 1)["state"] == "stalled"
    assert dict(training.look(folder, ENDED)["facts"])["time left, estimated"] == "about 7.3 h"  # 8 of 3300 s


def test_the_plots_hold_the_rows(tmp_path: Path) -> None:
    plots = {plot["title"]: plot for plot in training.look(made(tmp_path / "run"), ENDED)["plots"]}
    assert list(plots) == ["accuracy", "loss", "seconds"]
    assert [line["name"] for line in plots["accuracy"]["lines"]] == ["training", "validation"]
    assert plots["accuracy"]["lines"][1]["y"] == pytest.approx([1, 2, 3, 4])
    assert plots["accuracy"]["unit"] == "%"
    within, epochs = plots["loss"]["lines"]
    assert within["y"] == [2.9, 2.8, 2.6, 2.5]
    assert within["x"] == pytest.approx([50 / 60, 1, 110 / 60, 2])  # in epochs of 60 steps
    assert (epochs["x"], epochs["y"]) == ([1, 2, 3, 4], [2.75, 2.5, 2.25, 2.0])


def test_a_long_curve_is_thinned_to_its_last_point(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    (folder / "curve.csv").write_text("step,epoch,loss\n" + "".join(f"{n},1,{n}\n" for n in range(1, 5001)))
    within = training.look(folder, ENDED)["plots"][1]["lines"][0]
    assert len(within["x"]) == len(within["y"]) <= training.MOST
    assert (within["x"][-1], within["y"][-1]) == (1, 5000)


@pytest.mark.parametrize("last", ["5", "5,scan,0.5,1.7", "5,scan,0.5,1.75,0.05,1"])
def test_a_line_that_is_half_written_is_left_out(tmp_path: Path, last: str) -> None:
    folder = made(tmp_path / "run")
    with open(folder / "epochs.csv", "a") as file:
        file.write(last)
    assert dict(training.look(folder, ENDED)["facts"])["epochs"] == "4 of 10"
    (folder / "epochs.csv").write_text(HEADER[:9])
    assert training.look(folder, ENDED)["state"] == "begun"


def test_it_is_served(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    with served(folder) as server:
        status, page = got(server, "/")
        assert (status, "connect-src 'self'" in page) == (200, True)
        assert json.loads(got(server, "/state.json")[1])["plots"][1]["lines"][1]["y"] == [2.75, 2.5, 2.25, 2.0]
        with open(folder / "epochs.csv", "a") as file:
            file.write(ROWS[4])
        assert dict(json.loads(got(server, "/state.json")[1])["facts"])["epochs"] == "5 of 10"
        made(folder, epochs=1)  # begun anew
        assert json.loads(got(server, "/state.json")[1])["plots"][1]["lines"][1]["y"] == [2.75]
        (folder / "epochs.csv").write_text("nothing\n")
        assert json.loads(got(server, "/state.json")[1])["state"] == "unreadable"
        for file in list(folder.iterdir()):
            file.unlink()
        folder.rmdir()
        assert json.loads(got(server, "/state.json")[1])["state"] == "unreadable"
        assert got(server, "/experiment.toml")[0] == got(server, "/../epochs.csv")[0] == 404


def test_it_is_for_this_machine_alone(tmp_path: Path) -> None:
    with served(made(tmp_path / "run")) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert got(server, "/state.json", Host=f"localhost:{server.server_port}")[0] == 200
        assert got(server, "/state.json", Host=f"elsewhere.example:{server.server_port}")[0] == 403
        done = run(command, tmp_path / "run", "--port", server.server_port)
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert f"--port: {server.server_port} can't be had" in done.stderr


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    # a shell that puts this into the background has it ignore interrupts
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from deploy import watch; "
    script = f"{heard}watch.main(watch.command)"
    arguments = [sys.executable, "-c", script, str(made(tmp_path / "run"))]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("http://127.0.0.1:")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate()
    assert (watching.returncode, errors.strip()) == (130, "error: interrupted")


class Page(HTMLParser):
    """Its tags, and every address that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


def test_the_written_page_is_self_contained(tmp_path: Path) -> None:
    folder = made(tmp_path / "a <b>&", options=f'epochs = 10\ntask = "{HOSTILE}"\n')
    done = run(command, folder, "-o", tmp_path / "page.html")
    assert (done.code, done.stdout) == (0, f"{tmp_path / 'page.html'}\n")
    text = (tmp_path / "page.html").read_text()
    found = Page(text)
    assert not found.addresses
    assert found.tags.count("script") == 3
    assert set(found.tags).isdisjoint({"link", "iframe", "object", "img", "b"})
    assert "default-src 'none'" in text
    assert "connect-src" not in text
    assert not re.search(r"@import|url\((?!#)", text)


def test_a_page_does_not_replace_what_it_shows(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    before = (folder / "epochs.csv").read_bytes()
    (folder / "last.pt").write_bytes(b"the run")
    for name in ("epochs.csv", "last.pt"):
        assert run(command, folder, "-o", folder / name).code == 2
    assert (folder / "last.pt").read_bytes() == b"the run"
    assert (folder / "epochs.csv").read_bytes() == before


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _folder(folder: Path) -> None:
    (folder / "epochs.csv").unlink()
    (folder / "epochs.csv").mkdir()


def _gone(folder: Path) -> None:
    _empty(folder)
    folder.rmdir()


DAMAGES: dict[str, Any] = {
    "nothing in it": _empty,
    "no folder": _gone,
    "a column lacks": lambda folder: (folder / "epochs.csv").write_text("epoch,loss\n1,2\n"),
    "a column twice": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds,loss,loss\n1,2,3,4\n"),
    "a cell lacks": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds\n1,2\n2\n"),
    "no number": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds\n1,two\n"),
    "counts down": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds\n2,1\n1,1\n"),
    "counts halves": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds\n0.5,1\n"),
    "a control character": lambda folder: (folder / "epochs.csv").write_text("epoch,seconds,\x1b[31m\n1,2,3\n"),
    "no text": lambda folder: (folder / "epochs.csv").write_bytes(b"\xff\xfe\x00\n"),
    "an open quote": lambda folder: (folder / "epochs.csv").write_text('epoch,seconds\n"1,2\n'),
    "the curve": lambda folder: (folder / "curve.csv").write_text("epoch\n1\n"),
    "the options": lambda folder: (folder / "experiment.toml").write_text("epochs ="),
    "a kind of option": lambda folder: (folder / "experiment.toml").write_text('epochs = "ten"'),
    "a folder in the place of a log": _folder,
}


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str, serves: bool) -> None:
    folder = made(tmp_path / "run")
    DAMAGES[damage](folder)
    done = run(command, folder, *(() if serves else ("-o", tmp_path / "page.html")))
    assert (done.code, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert str(folder) in done.stderr
    assert not (tmp_path / "page.html").exists()


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folders.whole(tmp_path_factory.mktemp("road"))


def test_a_road_by_its_stations(road: Path) -> None:
    last = max(file.stat().st_mtime for file in road.iterdir())
    (road / "trace.torch.h5").rename(road / "kept")
    try:
        seen = stations.look(road, last + 5)
    finally:
        (road / "kept").rename(road / "trace.torch.h5")
    rows = {row[0]: row[1:] for row in seen["tables"][0]["rows"]}
    assert rows["reference.parallel.h5"][2] == "fail, 3 differ"
    assert rows["trace.numpy.h5"][2] == "pass, 0 differ"
    assert rows["model.nir"][1] == f"{(road / 'model.nir').stat().st_size:,}"
    assert rows["trace.torch.h5"][0] == rows["road.json"][0] == "\N{EN DASH}"
    assert seen["state"] == "running"
    assert stations.look(road, last + stations.QUIET + 1)["state"] == "stalled"
    assert WRONG not in json.dumps(seen)  # no station is a layer


def test_a_road_that_is_done(road: Path, tmp_path: Path) -> None:
    (road / "road.json").write_text(json.dumps({"runs": {"speck": {"refused": HOSTILE, "by": "speck"}}}))
    try:
        seen = stations.look(road, 0)
        assert run(command, road, "-o", tmp_path / "page.html").code == 0
        (road / "road.json").write_text("{")
        assert run(command, road, "-o", tmp_path / "other.html").code == 2
    finally:
        (road / "road.json").unlink()
    assert seen["state"] == "finished"
    assert ["refused", "1"] in seen["facts"]
    assert f"refused: {HOSTILE}" in [row[3] for row in seen["tables"][0]["rows"]]
    assert Page((tmp_path / "page.html").read_text()).tags.count("script") == 3
