"""Integrate-and-fire with several spikes in a step: against sinabs' own layer, on every backend, and in verify."""

from __future__ import annotations

import numpy as np
import pytest

import spikestrip as ss
from spikestrip.operations import UNBOUNDED, Affine, MultiSpikeIF, MultiSpikeLIF

N = 5


@pytest.fixture(params=["if", "lif"])
def program(request: pytest.FixtureRequest) -> ss.Program:
    rng = np.random.default_rng(0)
    threshold = rng.uniform(0.3, 1.0, N)
    neuron = MultiSpikeIF(threshold, -threshold)
    if request.param == "lif":
        neuron = MultiSpikeLIF(threshold, -threshold, rng.uniform(0.2, 0.95, N), rng.uniform(0.5, 2, N))
    return ss.chain(
        (3,),
        [
            ("n00_mix", Affine(rng.normal(0, 1, (N, 3)).astype(np.float32))),
            ("n01_several", neuron),
            ("n02_mix", Affine(rng.normal(0, 1, (2, N)).astype(np.float32))),
        ],
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(0.2, 1, (4, 60, 3)).astype(np.float32)


def test_it_is_sinabs_own_neuron() -> None:
    torch = pytest.importorskip("torch")
    layers = pytest.importorskip("sinabs.layers")
    rng = np.random.default_rng(2)
    x = rng.normal(0.2, 1.5, (3, 50, N))
    stock = layers.IAF(spike_threshold=torch.tensor(0.75, dtype=torch.float64), min_v_mem=-0.75)
    with torch.no_grad():
        theirs = stock(torch.from_numpy(x)).numpy()
    assert theirs.max() > 2
    neuron = MultiSpikeIF(np.full(N, 0.75), np.full(N, -0.75))
    state = {"u": np.zeros((3, N))}
    for t in range(x.shape[1]):
        state, spikes = neuron.step(np, state, x[:, t])
        np.testing.assert_array_equal(spikes, theirs[:, t])
    # sinabs holds the floor by relu(v - floor) + floor, which rounds
    np.testing.assert_allclose(state["u"], stock.v_mem.numpy(), rtol=0, atol=1e-12)


def test_it_is_sinabs_own_leaky_neuron() -> None:
    """Its default LIF, in float64: numbers of spikes and the potentials behind them, bit for bit."""
    torch = pytest.importorskip("torch")
    layers = pytest.importorskip("sinabs.layers")
    rng = np.random.default_rng(3)
    x, decay = rng.normal(0.2, 1.5, (3, 50, N)), rng.uniform(0, 1, N)
    stock = layers.LIF(tau_mem=1.0, train_alphas=True, spike_threshold=torch.tensor(0.75, dtype=torch.float64))
    stock.alpha_mem.data = torch.from_numpy(decay)
    with torch.no_grad():
        theirs = stock(torch.from_numpy(x)).numpy()
    neuron = MultiSpikeLIF(np.full(N, 0.75), np.full(N, UNBOUNDED), decay, 1 - decay)
    state = {"u": np.zeros((3, N))}
    for t in range(x.shape[1]):
        state, spikes = neuron.step(np, state, x[:, t])
        np.testing.assert_array_equal(spikes, theirs[:, t])
    np.testing.assert_array_equal(state["u"], stock.v_mem.numpy())
    assert theirs.max() > 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "sinabs", "raster"])
def test_every_backend_is_verified(program: ss.Program, x: np.ndarray, backend: str, dtype: str) -> None:
    verdict = ss.verify(ss.simulate(program, x), ss.simulate(program, x, backend, dtype=dtype), program)
    assert verdict.passed, verdict.failures


def test_an_output_that_doesnt_follow_fails(program: ss.Program, x: np.ndarray) -> None:
    wrong = ss.simulate(program, x)
    wrong.output = wrong.output.copy()
    wrong.output[2, 30, 1] += 0.5
    assert not ss.verify(ss.simulate(program, x), wrong, program).passed


def test_an_overflow_is_no_number_of_spikes(program: ss.Program, x: np.ndarray) -> None:
    with pytest.raises(ss.BadInput, match="no longer finite"):
        ss.simulate(program, np.full_like(x, 3e38), dtype="float32")


@pytest.mark.parametrize(("threshold", "floor"), [(0.0, -1.0), (1.0, 0.5)])
def test_a_neuron_without_end_is_refused(threshold: float, floor: float) -> None:
    with pytest.raises(ss.BadInput, match="above 0"):
        MultiSpikeIF(np.full(2, threshold), np.full(2, floor))
