"""What differs from machine to machine and must not matter: line ends, encodings, and modules that Linux alone has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.fitting import chip
from deploy.pricing import prices
from spikestrip.files import read_json, read_toml, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("spikestrip", "train", "convert", "simulators", "deploy")

ELSEWHERE = """
import builtins, importlib, pkgutil, signal, sys

floors, absent, here = {floors!r}, {absent!r}, builtins.__import__

def without(name, globals=None, *rest, **named):
    ours = (globals or {{}}).get("__name__", "").split(".")[0] in floors
    if ours and name.split(".")[0] in absent:
        raise ModuleNotFoundError(name, name=name)
    return here(name, globals, *rest, **named)

builtins.__import__ = without
for name in ("SIGHUP", "SIGPIPE"):
    if hasattr(signal, name):
        delattr(signal, name)
for floor in floors:
    for module in pkgutil.walk_packages(importlib.import_module(floor).__path__, floor + "."):
        if module.name.split(".")[-1] != "__main__" and not module.name.startswith({linux!r}):
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                missing = (error.name or "").split(".")[0]
                if not missing or missing in (*absent, *floors):
                    raise
from spikestrip.files import alone, read_json, write_json
with alone("."):
    write_json("new.json", {{"a": 1}})
assert read_json("new.json") == {{"a": 1}}
from deploy.console import main
sys.argv[1:] = ["fit", "--help"]
main()
"""


def test_without_modules_that_windows_lacks(tmp_path: Path) -> None:
    """All but what supervises Lava, which refuses other platforms before it is imported."""
    absent = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "syslog")
    script = ELSEWHERE.format(floors=FLOORS, absent=absent, linux="simulators.backends.lava.")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def environment(**others: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **others}


def test_files_with_line_ends_of_windows(tmp_path: Path) -> None:
    for here, read in ((chip.CHIPS / "speck2e.toml", read_toml), (prices.PRICES / "loihi1.toml", read_toml),
                       (ROOT / "experiments/smnist.toml", read_toml)):  # fmt: skip
        there = tmp_path / here.name
        there.write_bytes(here.read_bytes().replace(b"\n", b"\r\n"))
        assert read(there) == read(here)
    write_json(tmp_path / "a.json", {"a": ["é", 1]})
    (tmp_path / "b.json").write_bytes((tmp_path / "a.json").read_bytes().replace(b"\n", b"\r\n"))
    assert read_json(tmp_path / "b.json") == {"a": ["é", 1]}


def test_texts_have_the_same_bytes_in_every_locale(tmp_path: Path) -> None:
    script = "from spikestrip.files import write_text; write_text('a.txt', chr(0xE9) + chr(10))"
    plain = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()


def test_a_name_of_no_letters_in_a_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a.html", "of \udcff.nir")
    assert (tmp_path / "a.html").read_bytes() == b"of \\udcff.nir"


@pytest.mark.parametrize("name", ["with space", "é", "日本", "a.b.c", "-x", "[red]", "it's", "%TEMP%", "~"])
def test_names_of_folders_and_files(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    write_text(folder / f"{name}.json", '{"a": 1}')
    assert read_json(folder / f"{name}.json") == {"a": 1}
    assert [path.name for path in folder.iterdir()] == [f"{name}.json"]
