"""nirtorch runs our canonical files with the node map of examples/nirtorch_run.py, spike for spike."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import gaussian, network, recurrent

from convert.formats.nir.writing import write
from simulators.backends.numpy import NumpyBackend
from spikestrip.program import Program

pytest.importorskip("nirtorch")
SCRIPT = Path(__file__).parents[1] / "examples" / "nirtorch_run.py"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("nirtorch_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cut(program: Program, name: str) -> Program:
    """The network up to one layer, so that nirtorch, which returns only the output, shows that layer."""
    names = [layer.name for layer in program.layers]
    needed = {name}
    for layer in reversed(program.layers):
        if layer.name in needed:
            needed |= {*layer.inputs, *layer.delayed}
    kept = tuple(layer for layer in program.layers[: names.index(name) + 1] if layer.name in needed)
    return Program(program.input_shape, kept, name)


@pytest.mark.parametrize("neuron", ["hard", "soft", "refractory"])
def test_every_spiking_layer(tmp_path: Path, neuron: str) -> None:
    rng = np.random.default_rng(3)
    program = network(rng, blocks=2, neuron=neuron, readout="sequence")
    x = gaussian(rng, program, 2, 50)
    for layer in program.spiking:
        part = cut(program, layer.name)
        write(part, tmp_path / "model.nir")
        ours = NumpyBackend().run(part, x, "float64", "cpu", lambda done: None).output
        assert ours.sum() > 10
        np.testing.assert_array_equal(example().run(str(tmp_path / "model.nir"), x), ours)


def test_recurrent_network_and_mean_readout(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for program in (recurrent(rng), network(rng, blocks=2)):
        write(program, tmp_path / "model.nir")
        x = gaussian(rng, program, 2, 50)
        ours = NumpyBackend().run(program, x, "float64", "cpu", lambda done: None).output
        np.testing.assert_allclose(example().run(str(tmp_path / "model.nir"), x), ours, rtol=1e-9, atol=1e-9)


def test_poison_arrives(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    program = network(rng, blocks=1, mix="glu")
    write(program, tmp_path / "model.nir")
    assert np.isnan(example().run(str(tmp_path / "model.nir"), gaussian(rng, program, 2, 3))).all()


def test_script_runs_by_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    program = network(rng, blocks=1)
    write(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", gaussian(rng, program, 2, 5))
    files = [str(tmp_path / name) for name in ("model.nir", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-P", str(SCRIPT), *files], check=True, cwd=tmp_path)
    assert np.load(tmp_path / "y.npy").shape == (2, 5, 5)
