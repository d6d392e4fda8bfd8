"""The zoo: what its page says of each file is what the file holds, and each goes through NIR exactly."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import spikestrip as ss
from train.checkpoint import load

ZOO = Path(__file__).parent.parent / "zoo"
ROWS = re.findall(
    r"\| (\S+\.safetensors) \| .* \| ([\d.]+)% of [\d,]+ \| ([\d.]+)% \| `(\w+)` \|", (ZOO / "README.md").read_text()
)


def test_every_file_has_a_row() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(path.name for path in ZOO.glob("*.safetensors"))


@pytest.mark.parametrize(("name", "accuracy", "rate", "digest"), ROWS)
def test_a_file_is_what_its_row_says(name: str, accuracy: str, rate: str, digest: str, tmp_path: Path) -> None:
    metrics = load(ZOO / name).metrics
    assert f"{100 * metrics['accuracy']:.2f}" == accuracy
    assert f"{100 * metrics['spiking_rate']:.1f}" == rate
    program = ss.load(ZOO / name)
    assert program.sha256.startswith(digest)
    ss.save(program, tmp_path / "model.nir")
    again = ss.load(tmp_path / "model.nir")
    steps = 100 if program.input_shape == (1,) else 10
    x = np.random.default_rng(0).random((2, steps, *program.input_shape)).astype(np.float32)
    a, b = ss.simulate(program, x), ss.simulate(again, x, "torch")
    assert sum(train.sum() for train in a.spikes.values()) > 0
    for layer, train in a.spikes.items():
        np.testing.assert_array_equal(train, b.spikes[layer])


def test_the_page_of_the_whole_road_has_each() -> None:
    """What can be held against the files at once; `make zoo` computes the rest."""
    rows = [
        line.split(" | ") for line in (ZOO.parent / "docs" / "zoo.md").read_text().splitlines() if "| `python" in line
    ]
    assert {row[0].removeprefix("| "): (row[3], row[4], row[6]) for row in rows} == {
        name.removesuffix(".safetensors"): (f"{accuracy}%", f"{rate}%", f"`{digest}`")
        for name, accuracy, rate, digest in ROWS
    }
    assert all("numpy, torch, onnxruntime, raster, lava" in row[7] for row in rows)
    assert all((ZOO.parent / row[1].split()[-1].strip("`")).exists() for row in rows)
    assert max(path.stat().st_size for path in ZOO.glob("*.safetensors")) < 2_000_000
