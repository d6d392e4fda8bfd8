"""``python convert/to_onnx.py``: from a NIR file or a checkpoint, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from programs import gaussian, network

from convert import to_onnx
from convert.formats.nir import writing as nir_writer
from convert.formats.nir.reading import read
from convert.formats.onnx import load_model
from convert.lowering.int8 import int8
from simulators.backends.numpy import NumpyBackend
from spikestrip.program import Program


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, to_onnx.__file__, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=False)


def spikes_agree(path: Path, program: Program, dtype: str) -> None:
    x = gaussian(np.random.default_rng(0), program, 2, 30).astype(dtype)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {value.name: np.zeros((2, *value.shape[1:]), dtype) for value in session.get_inputs() if value.name != "x"}
    names = [value.name for value in session.get_outputs()]
    results = dict(zip(names, session.run(None, feeds | {"x": x.swapaxes(0, 1)}), strict=True))
    expected = NumpyBackend().run(program, x, dtype, "cpu", lambda steps: None)  # type: ignore[arg-type]
    for name, train in expected.spikes.items():
        np.testing.assert_array_equal(results[f"{name}.spikes"].swapaxes(0, 1), train)


def test_from_a_nir_file_in_any_folder(tmp_path: Path) -> None:
    program = network(np.random.default_rng(0))
    nir_writer.write(program, tmp_path / "net.nir")
    done = run("net.nir", "--functions", "--dtype", "float64", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.fn.onnx", "net.nir", "net.onnx"]
    load_model(tmp_path / "net.onnx", program)
    for name in ("net.onnx", "net.fn.onnx"):
        spikes_agree(tmp_path / name, program, "float64")


def test_from_a_checkpoint(tmp_path: Path) -> None:
    from convert.strip import strip
    from train.checkpoint import Checkpoint, load, save
    from train.config import Config
    from train.networks import Network

    save(tmp_path / "ckpt.pt", Checkpoint(Network(Config(3, 4, d_model=8, d_state=4))))
    done = run("ckpt.pt", "-o", "out.onnx", "--dtype", "float64", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    program = strip(load(tmp_path / "ckpt.pt").network)
    load_model(tmp_path / "out.onnx", program)
    spikes_agree(tmp_path / "out.onnx", program, "float64")


def test_int8_says_what_it_costs(tmp_path: Path) -> None:
    program = network(np.random.default_rng(0))
    nir_writer.write(program, tmp_path / "net.nir")
    np.save(tmp_path / "x.npy", gaussian(np.random.default_rng(1), program, 2, 30))
    done = run("net.nir", "--int8", "x.npy", "--form", "step", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-2] for line in done.stdout.splitlines()[:-2]] == ["n02_block0_spike", "n06_block1_spike"]
    load_model(tmp_path / "net.int8.onnx", int8(program))
    assert read(tmp_path / "net.int8.nir").sha256 == int8(program).sha256  # what the file computes, for verify


def test_int8_writes_over_neither_input(tmp_path: Path) -> None:
    program = network(np.random.default_rng(0))
    nir_writer.write(program, tmp_path / "net.int8.nir")
    np.save(tmp_path / "x.npy", gaussian(np.random.default_rng(1), program, 2, 30))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for out, overwritten in (("net.onnx", "net.int8.nir"), ("x.npy", "x.npy")):
        done = run("net.int8.nir", "--int8", "x.npy", "-o", out, cwd=tmp_path)
        assert done.returncode == 2
        assert f"{overwritten}: is the input itself" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, (), "no such file"),
        (b"not a graph", (), "model.nir"),
        (b"not a graph", ("-o", "model.nir"), "the input itself"),
        (b"not a graph", ("--dtype", "float16"), "float16"),
        (b"not a graph", ("--form", "scan"), "scan"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, content: bytes | None, options: tuple[str, ...], said: str
) -> None:
    before = []
    if content is not None:
        (tmp_path / "model.nir").write_bytes(content)
        before = ["model.nir"]
    done = run("model.nir", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == before
