"""The wheel and the sdist, installed alone into an empty environment, on every Python that is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")

SMOKE = """
import sys
import numpy as np
import spikestrip as ss
from spikestrip.operations import LIF, Affine, LeakyIntegrator

assert "site-packages" in ss.__file__, ss.__file__
weight = np.array([[1.0, -0.5], [0.25, 0.75]], np.float32)
program = ss.chain((2,), [
    ("n00_mix", Affine(weight)),
    ("n01_spike", LIF(np.full(2, 0.5), np.full(2, 0.75))),
    ("n02_head", Affine(weight)),
    ("n03_read", LeakyIntegrator(np.ones(2))),
])
ss.save(program, "model.nir")
np.save("x.npy", np.random.default_rng(0).normal(size=(2, 20, 2)).astype(np.float32))
"""

COMMANDS = (
    "--help",
    "doctor",
    "simulate model.nir --backend numpy --input x.npy -o a.h5",
    "to-onnx model.nir -o model.onnx",
    "simulate model.onnx --backend numpy --input x.npy -o b.h5",
    "verify a.h5 b.h5 --program model.nir",
    "certify model.nir --input x.npy -o certificate.json",
    "price a.h5 --table event_float32",
    "quantize model.nir --chip loihi2 --calibrate x.npy -o model.q.nir",
)
"""What needs no extra: every floor but training, and data of every package."""
WITHOUT = {"fit model.nir --chip loihi2": "fit", "train --task digits --out a.pt": "train", "to-nir a.pt": "train"}
"""What needs one -> the one that it must name."""

TRAINED = (
    "train --task digits --d-model 16 --d-state 4 --layers 1 --epochs 1 --out a.pt",
    "to-nir a.pt -o a.nir",
    "to-onnx a.pt -o a.onnx",
    "score a.pt --samples 32",
    "reference a.pt --input x.npy -o reference.h5",
    "simulate a.nir --backend torch --input x.npy -o torch.h5",
    "simulate a.onnx --backend onnxruntime --input x.npy -o onnx.h5",
    "verify reference.h5 torch.h5 --program a.nir",
    "verify torch.h5 onnx.h5 --program a.nir",
    "road a.pt --samples 4 --backends numpy,raster,torch,onnxruntime --out road",
    "report road",
    "fit a.nir --chip loihi2",
)
"""From training to a report, with the extras that it needs."""


ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""The environment of a user, in which no path leads back to the repository."""


def interpreter(release: str) -> str | None:
    """A Python of this release: on the path, or one that pyenv keeps (its shims of others only say so)."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{release}.*/bin/python"))
    for python in (shutil.which(f"python{release}"), *map(str, kept)):
        if python and not subprocess.run([python, "--version"], capture_output=True).returncode:
            return python
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel that the sdist builds: what an sdist leaves out, the wheel lacks."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    make = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", make], cwd=source, check=True, capture_output=True)
    (sdist,) = (source / "dist").glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(sdist)]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("release", PYTHONS)
def test_the_wheel_alone_passes_the_smoke_test(release: str, built: Path, tmp_path: Path) -> None:
    python = interpreter(release)
    if python is None:
        pytest.skip(f"there is no Python {release} on this machine")
    subprocess.run([python, "-m", "venv", "env"], cwd=tmp_path, check=True)
    own = tmp_path / "env" / "bin"
    (wheel,) = built.glob("*.whl")
    subprocess.run([own / "python", "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    subprocess.run([own / "python", "-c", SMOKE], cwd=tmp_path, env=ALONE, check=True)
    for command in COMMANDS:
        line = [own / "spikestrip", *command.split()]
        done = subprocess.run(line, cwd=tmp_path, env=ALONE, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    (tmp_path / "a.pt").write_bytes(b"PK")
    for command, extra in WITHOUT.items():
        line = [own / "spikestrip", *command.split()]
        done = subprocess.run(line, cwd=tmp_path, env=ALONE, capture_output=True, text=True)
        assert (done.returncode, f"pip install 'spikestrip[{extra}]'" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_a_network_goes_from_training_to_its_report_by_the_wheel(built: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "env"], cwd=tmp_path, check=True)
    own = tmp_path / "env" / "bin"
    (wheel,) = built.glob("*.whl")
    install = ["install", "--quiet", "--constraint", ROOT / "constraints.txt", f"{wheel}[train,sim,report,fit]"]
    subprocess.run([own / "python", "-m", "pip", *install], check=True, capture_output=True)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(size=(2, 64, 1)).astype(np.float32))
    for command in TRAINED:
        line = [own / "spikestrip", *command.split()]
        done = subprocess.run(line, cwd=tmp_path, env=ALONE, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert "</html>" in (tmp_path / "road" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_constraints_hold_every_extra(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--constraint", ROOT / "constraints.txt"]
    done = subprocess.run([*install, f"{wheel}[{','.join(extras)}]"], capture_output=True, text=True)
    assert not done.returncode, done.stderr
