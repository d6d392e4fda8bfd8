"""Files that can't be used: one line that names file, node and reason, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from click.testing import CliRunner
from programs import network

from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from convert.to_nir import command
from spikestrip.errors import BadInput
from spikestrip.program import Program

NODES = "node/nodes/"
SSM, SPIKE, MIX = "n01_block0_ssm", "n02_block0_spike", "n03_block0_mix"


@pytest.fixture
def program() -> Program:
    return network(np.random.default_rng(0), blocks=1, mix="glu")


@pytest.fixture
def file(tmp_path: Path, program: Program) -> Path:
    write(program, tmp_path / "model.nir")
    return tmp_path / "model.nir"


def refused(path: Path, *said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for words in said:
        assert words in message


def replace(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


def scale(name: str, factor: float, at: int = 0) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = file[name][()]
        values.flat[at] *= factor
        file[name][...] = values

    return change


EDITS: dict[str, tuple[Callable[[h5py.File], None], tuple[str, ...]]] = {
    "unknown type": (lambda f: replace(f, f"{NODES}{SPIKE}/type", "Izhikevich"), (SPIKE, "unknown node type")),
    "no type": (lambda f: f.__delitem__(f"{NODES}{SPIKE}/type"), (SPIKE, "no type")),
    "no edges": (lambda f: f.__delitem__("node/edges"), ("root", "without edges")),
    "no edges inside": (lambda f: f.__delitem__(f"{NODES}{SSM}/edges"), (SSM, "without edges")),
    "no nodes": (lambda f: f.__delitem__("node/nodes"), ("without nodes",)),
    "no output": (lambda f: f.__delitem__(f"{NODES}output"), ("'output'", "no node")),
    "missing layer": (lambda f: f.__delitem__(f"{NODES}{MIX}"), (MIX, "no node")),
    "missing parameter": (lambda f: f.__delitem__(f"{NODES}{SPIKE}/tau"), (SPIKE, "tau")),
    "unknown parameter": (lambda f: f.__setitem__(f"{NODES}{SPIKE}/colour", 1.0), (SPIKE, "colour")),
    "wrong shape": (lambda f: replace(f, f"{NODES}{SPIKE}/tau", np.ones((1, 3))), (SPIKE, "shape")),
    "wrong weight": (lambda f: replace(f, f"{NODES}{MIX}/weight", np.ones((1, 16, 3))), (MIX, "shape")),
    "no row": (lambda f: replace(f, f"{NODES}{MIX}/weight", np.ones((16, 8))), (MIX, "row")),
    "flat weight": (lambda f: replace(f, f"{NODES}{MIX}/weight", np.ones(3)), (MIX, "2D")),
    "text for numbers": (lambda f: replace(f, f"{NODES}{SPIKE}/tau", [b"a"] * 8), (SPIKE, "tau", "real numbers")),
    "NaN in weights": (scale(f"{NODES}{MIX}/weight", np.nan), (MIX, "NaN")),
    "edges of three": (lambda f: replace(f, "node/edges", [[b"a", b"b", b"c"]]), ("root", "edges")),
    "edge to nowhere": (lambda f: replace(f, "node/edges", [[b"input", b"x"]]), ("'x'", "no node")),
    "unknown op": (lambda f: replace(f, f"{NODES}{SSM}/metadata/spikestrip_op", "warp"), (SSM, "'warp'")),
    "newer op": (lambda f: replace(f, f"{NODES}{SSM}/metadata/spikestrip_version", 3), (SSM, "version 3")),
    "newer file": (lambda f: replace(f, "node/metadata/spikestrip_version", 99), ("version 99",)),
    "version of words": (lambda f: replace(f, "node/metadata/spikestrip_version", "new"), ("'new'",)),
    "op without arrays": (lambda f: f.__delitem__(f"{NODES}{SSM}/metadata/a_re"), (SSM, "a_re")),
    "op with more": (lambda f: f.__setitem__(f"{NODES}{SSM}/metadata/q", 1), (SSM, "'q'")),
    "op of text": (lambda f: replace(f, f"{NODES}{SSM}/metadata/a_re", "much"), (SSM, "a_re")),
    "another dt": (lambda f: replace(f, "node/metadata/dt", 1e-4), ("graph", "dt = 1")),
    "no mark": (lambda f: f.__delitem__("node/metadata/spikestrip"), ("spikestrip_op", "not marked canonical")),
    "no order": (lambda f: f.__delitem__("node/metadata/order"), ("order",)),
    "an edited tau": (scale(f"{NODES}{SPIKE}/tau", 1 + 1e-9), (SPIKE, "tau", "edited")),
    "an edited threshold": (scale(f"{NODES}{SPIKE}/v_threshold", 1.1), (SPIKE, "v_threshold", "edited")),
    "an edited reset": (lambda f: replace(f, f"{NODES}{SPIKE}/v_reset", np.ones((1, 8))), (SPIKE, "v_reset")),
    "an edited decay": (scale(f"{NODES}{SPIKE}/metadata/decay", 0.9), (SPIKE, "tau", "edited")),
    "an edited body": (scale(f"{NODES}{SSM}/nodes/n6_output/scale", 2), (SSM, "n6_output", "edited")),
    "edited metadata": (scale(f"{NODES}{SSM}/metadata/b_im", 2, 9), (SSM, "n1_input", "edited")),
    "a healed poison": (
        lambda f: replace(f, f"{NODES}n04_block0_glu/nodes/n0_not_a_number/weight", np.ones((1, 8, 16), np.float32)),
        ("n04_block0_glu", "edited"),
    ),
    "another type": (lambda f: replace(f, f"{NODES}{SSM}/nodes/n5_rotate/type", "Threshold"), (SSM,)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_file(file: Path, edit: str) -> None:
    change, said = EDITS[edit]
    with h5py.File(file, "r+") as opened:
        change(opened)
    refused(file, *said)


def test_removed_guard(file: Path, program: Program) -> None:
    guard = f"{program.output}_guard"
    with h5py.File(file, "r+") as opened:
        edges = [edge for edge in opened["node/edges"][()].tolist() if guard.encode() not in edge]
        replace(opened, "node/edges", [*edges, [program.output.encode(), b"output"]])
        del opened[f"{NODES}{guard}"]
    refused(file, guard, "missing")


def test_added_node(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        opened.copy(f"{NODES}{MIX}", f"{NODES}extra")
    refused(file, "extra")


def test_truncated_file(file: Path) -> None:
    whole = file.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        refused(file, "HDF5")


def test_damaged_data(file: Path) -> None:
    """Bytes overwritten anywhere: refused, or (in unused room of the file) the same program; never another one."""
    whole = file.read_bytes()
    sound = read(file).sha256
    rng = np.random.default_rng(0)
    kept = 0
    for start in rng.integers(0, len(whole) - 64, 25):
        file.write_bytes(whole[:start] + bytes(rng.integers(0, 256, 64, np.uint8)) + whole[start + 64 :])
        try:
            found = read(file).sha256
        except BadInput as error:
            found = str(error)
        kept += found == sound
        assert found == sound or found.startswith(str(file))
    assert kept < 25


def test_no_file_and_no_nir(tmp_path: Path) -> None:
    refused(tmp_path / "absent.nir", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "text.nir").write_text("not HDF5")
    refused(tmp_path / "text.nir", "HDF5")
    with h5py.File(tmp_path / "other.nir", "w") as other:
        other["data"] = 1
    refused(tmp_path / "other.nir", "not a NIR file")
    nir.write(tmp_path / "leaf.nir", nir.Scale(np.ones(2)))
    refused(tmp_path / "leaf.nir", "not a graph")


def test_links_and_bombs(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    (tmp_path / "other.nir").write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        del opened[f"{NODES}{MIX}/weight"]
        opened[f"{NODES}{MIX}/weight"] = h5py.ExternalLink("other.nir", f"{NODES}{MIX}/weight")
    refused(file, MIX, "link")
    file.write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        del opened[f"{NODES}{MIX}/weight"]
        external = [(str(tmp_path / "other.nir"), 0, 512)]
        opened.create_dataset(f"{NODES}{MIX}/weight", (1, 16, 8), np.float32, external=external)
    refused(file, MIX, "another file")
    file.write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        del opened[f"{NODES}{MIX}/weight"]
        opened.create_dataset(f"{NODES}{MIX}/weight", (1, 1 << 17, 1 << 17), np.float32, chunks=True)
    refused(file, MIX, "expands")


def test_command_writes_beside_and_never_over_its_input(file: Path, program: Program) -> None:
    run = CliRunner().invoke(command, [str(file)])
    assert run.exit_code == 0, run.output
    beside = file.with_suffix(".canonical.nir")
    assert read(beside).sha256 == program.sha256
    before = file.read_bytes()
    run = CliRunner().invoke(command, [str(file), "-o", str(file)])
    assert isinstance(run.exception, BadInput)
    assert file.read_bytes() == before
    file.write_bytes(before[:-100])
    run = CliRunner().invoke(command, [str(file), "-o", str(file.with_name("new.nir"))])
    assert isinstance(run.exception, BadInput)
    assert not file.with_name("new.nir").exists()
