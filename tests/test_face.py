"""The face that a notebook needs: ``import spikestrip as ss``, with torch and without it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import spikestrip as ss
from spikestrip.operations import LIF, Affine, LeakyIntegrator

NO_TORCH = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def program() -> ss.Program:
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (5, 3)).astype(np.float32) / 4
    return ss.chain(
        (3,),
        [
            ("n00_mix", Affine(weight)),
            ("n01_spike", LIF(np.full(5, 0.5), np.full(5, 0.75))),
            ("n02_read", LeakyIntegrator(np.ones(5))),
        ],
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).integers(-2, 3, (2, 20, 3)).astype(np.float32)


def test_a_notebook(program: ss.Program, x: np.ndarray, tmp_path: Path) -> None:
    ss.save(program, tmp_path / "model.nir")
    loaded = ss.load(tmp_path / "model.nir")
    assert loaded.sha256 == program.sha256
    a = ss.simulate(loaded, x)
    b = ss.simulate(loaded, x, "onnxruntime", dtype="float32")
    verdict = ss.verify(a, b, loaded)
    assert verdict.passed
    assert verdict.causes == {}
    assert verdict.first is None
    assert repr(verdict) == "<Verdict pass: 0 spikes differ>"
    assert "n01_spike" in str(verdict)
    assert "n01_spike" in verdict._repr_html_()
    assert isinstance(ss.raster(a, b, sample=0), Figure)
    ss.save(loaded, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size
    a.save(tmp_path / "a.h5")
    again = ss.read(tmp_path / "a.h5")
    np.testing.assert_array_equal(again.spikes["n01_spike"], a.spikes["n01_spike"])
    assert loaded["n01_spike"].operation.kind == "lif"


def test_a_layer_that_is_not_there_is_named(program: ss.Program) -> None:
    with pytest.raises(KeyError, match=r"no layer 'n01'; there are n00_mix, n01_spike, n02_read"):
        program["n01"]


def test_a_module_and_its_program(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    snntorch = pytest.importorskip("snntorch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), snntorch.Leaky(beta=0.5, init_hidden=True))
    program = ss.from_torch(net, torch.from_numpy(x[:, 0]))
    assert ss.simulate(program, x).spikes


def test_reprs_are_short(program: ss.Program, x: np.ndarray) -> None:
    assert len(repr(program)) < 300
    assert "n01_spike (lif)" in repr(program)
    trace = ss.simulate(program, x)
    assert len(repr(trace)) < 200
    assert "numpy iterative float64: 2 x 20 steps" in repr(trace)


def test_rasters_of_other_shapes_are_refused(program: ss.Program, x: np.ndarray) -> None:
    with pytest.raises(ss.BadInput, match="not of the same layers"):
        ss.raster(ss.simulate(program, x), ss.simulate(program, x[:, :5]))
    with pytest.raises(ss.BadInput, match="no sample 2"):
        ss.raster(ss.simulate(program, x), ss.simulate(program, x), sample=2)


def test_another_suffix_is_refused(program: ss.Program, tmp_path: Path) -> None:
    with pytest.raises(ss.BadInput, match=r"\.nir or \.onnx"):
        ss.save(program, tmp_path / "model.txt")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ss.BadInput, match="no file that holds a program"):
        ss.load(tmp_path / "model.txt")


def test_rules_are_keywords(program: ss.Program, tmp_path: Path) -> None:
    ss.save(program, tmp_path / "model.nir")
    with pytest.warns(UserWarning, match="rules of integration do not apply"):
        ss.load(tmp_path / "model.nir", dt=1e-3)


def test_the_face_is_light_and_needs_no_torch(program: ss.Program, x: np.ndarray, tmp_path: Path) -> None:
    """Importing it loads no numpy; all but checkpoints and from_torch works where there is no torch."""
    ss.save(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", x)
    script = NO_TORCH + (
        "import spikestrip as ss\n"
        "assert not {'numpy', 'h5py', 'click'} & set(sys.modules), 'import spikestrip loads too much'\n"
        "import numpy as np\n"
        "program, x = ss.load('model.nir'), np.load('x.npy')\n"
        "a, b = ss.simulate(program, x), ss.simulate(program, x, 'onnxruntime')\n"
        "assert ss.verify(a, b, program).passed\n"
        "ss.raster(a, b)\n"
        "ss.save(program, 'model.onnx')\n"
        "a.save('a.h5')\n"
        "assert (ss.read('a.h5').spikes['n01_spike'] == b.spikes['n01_spike']).all()\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_upper_floors_by_longer_names_are_the_same_modules() -> None:
    alias = importlib.import_module("spikestrip.convert.formats.onnx")
    own = importlib.import_module("convert.formats.onnx")
    assert alias is own
    assert own.__spec__ is not None
    assert own.__spec__.name == own.__name__ == "convert.formats.onnx"
    with pytest.raises(ModuleNotFoundError, match=r"convert\.nothing"):
        importlib.import_module("spikestrip.convert.nothing")


def test_a_module_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport spikestrip.train.loop"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"train is {tmp_path / 'train.py'} here" in ran.stderr.splitlines()[-1]
