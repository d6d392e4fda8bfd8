"""The adaptive LIF: its equation written out, every language and backend, and verify, which must see its threshold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nir
import nir_interpreter
import numpy as np
import pytest

import spikestrip as ss
from spikestrip.operations import AdaptiveLIF, Affine, LeakyIntegrator

N = 6


@pytest.fixture
def program() -> ss.Program:
    rng = np.random.default_rng(0)
    neuron = AdaptiveLIF(
        rng.uniform(0.3, 0.9, N), rng.uniform(0.4, 1, N), rng.uniform(0.8, 0.98, N), rng.uniform(0.05, 0.5, N)
    )
    weight = rng.normal(0, 1, (N, 3)).astype(np.float32)
    return ss.chain(
        (3,), [("n00_mix", Affine(weight)), ("n01_spike", neuron), ("n02_read", LeakyIntegrator(np.ones(N)))]
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(0.3, 1, (4, 80, 3)).astype(np.float32)


def written_out(program: ss.Program, x: np.ndarray) -> np.ndarray:
    """Spikes (B, T, N), neuron by neuron."""
    op, weight = program["n01_spike"].operation, program["n00_mix"].operation.weight.astype(float)  # type: ignore[attr-defined]
    spikes = np.zeros((*x.shape[:2], N), np.uint8)
    for b in range(len(x)):
        for n in range(N):
            u = a = 0.0
            for t in range(x.shape[1]):
                u = op.decay[n] * u + x[b, t].astype(float) @ weight[n]
                theta = op.threshold[n] + op.beta[n] * a
                s = u >= theta
                u, a = (u - theta if s else u), op.decay_a[n] * a + s
                spikes[b, t, n] = s
    return spikes


def test_its_equation(program: ss.Program, x: np.ndarray) -> None:
    spikes = ss.simulate(program, x).spikes["n01_spike"]
    np.testing.assert_array_equal(spikes, written_out(program, x))
    plain = dataclasses.replace(program["n01_spike"].operation, beta=np.zeros(N))  # type: ignore[type-var]
    fixed = ss.chain((3,), [("n00_mix", program["n00_mix"].operation), ("n01_spike", plain)])
    assert 0.02 < spikes.mean() < 0.9 * ss.simulate(fixed, x).spikes["n01_spike"].mean()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "raster"])
def test_every_backend_is_verified(program: ss.Program, x: np.ndarray, backend: str, dtype: str) -> None:
    verdict = ss.verify(ss.simulate(program, x), ss.simulate(program, x, backend, dtype=dtype), program)
    assert verdict.passed, verdict.failures


def test_nir_keeps_it_and_its_body_is_poisoned(program: ss.Program, x: np.ndarray, tmp_path: Path) -> None:
    ss.save(program, tmp_path / "model.nir")
    assert ss.load(tmp_path / "model.nir").sha256 == program.sha256
    streams = nir_interpreter.run(nir.read(str(tmp_path / "model.nir")), x[0][:, None].astype(float))
    assert np.isnan(streams["output"]).all()


@pytest.mark.parametrize(("field", "factor"), [("beta", 1.3), ("threshold", 1.1), ("decay_a", 0.9), ("decay", 0.9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_another_adaptation_fails(program: ss.Program, x: np.ndarray, field: str, factor: float, dtype: str) -> None:
    neuron = program["n01_spike"].operation
    wrong = dataclasses.replace(neuron, **{field: getattr(neuron, field) * factor})  # type: ignore[type-var]
    layers = tuple(
        dataclasses.replace(layer, operation=wrong) if layer.name == "n01_spike" else layer for layer in program.layers
    )
    trace = ss.simulate(dataclasses.replace(program, layers=layers), x, dtype=dtype)
    trace.attrs["program_sha256"] = program.sha256
    verdict = ss.verify(ss.simulate(program, x), trace, program)
    assert verdict.differ
    assert not verdict.passed


def test_a_threshold_that_falls_is_refused() -> None:
    with pytest.raises(ss.BadInput, match="beta is negative"):
        AdaptiveLIF(*(np.full(2, value) for value in (0.5, 1.0, 0.9, -0.1)))
