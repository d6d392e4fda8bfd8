"""GELU against the C library's erf and erfc; clamp against Python's min and max; the same bits on every library."""

from __future__ import annotations

import math

import array_api_compat.torch as torch_xp
import numpy as np
import onnxruntime
import pytest
import torch

from convert.formats.onnx import assemble, export
from spikestrip.errors import BadInput
from spikestrip.operations import GELU, Clamp, Operation
from spikestrip.operations.gelu import EDGE, erf
from spikestrip.program import chain

POINTS = np.concatenate([np.linspace(-12, 12, 48_001), np.random.default_rng(0).normal(size=20_000), [1e6, -1e6, 0.0]])


def exact(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), by the C library's erfc: no cancellation in either tail."""
    return np.array([value * math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()])


def stock(operation: Operation, x: np.ndarray) -> np.ndarray:
    """What plain ONNX Runtime makes of the written file: x (B, H)."""
    model = assemble(export(chain(x.shape[1:], [("n0", operation)]), "step", str(x.dtype)))  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def test_erf() -> None:
    z = np.concatenate([np.linspace(-EDGE, EDGE, 100_001), np.geomspace(1e-300, 1, 1000)])
    expected = np.array([math.erf(value) for value in z.tolist()])
    np.testing.assert_allclose(erf(np, z), expected, rtol=1.2e-15, atol=0)
    np.testing.assert_array_equal(erf(np, -z), -erf(np, z))


@pytest.mark.parametrize(("dtype", "relative"), [("float64", 7e-16), ("float32", 3.2e-7)])
def test_gelu_is_as_near_to_the_truth_as_it_says(dtype: str, relative: float) -> None:
    x = POINTS.astype(dtype)
    error = np.abs(GELU().step(np, {}, x)[1].astype(np.float64) - exact(x))
    assert (error <= relative * np.maximum(1, np.abs(x))).all()


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 4e-15), (torch.float32, 2.6e-6)])
def test_torchs_gelu_which_trains_the_network_is_near(dtype: torch.dtype, allowed: float) -> None:
    x = torch.from_numpy(POINTS[np.abs(POINTS) < 10]).to(dtype)
    ours = GELU().step(torch_xp, {}, x)[1]
    assert float((torch.nn.functional.gelu(x) - ours).abs().max()) <= allowed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", [GELU(), Clamp(-0.1, 0.9), Clamp(low=0.0), Clamp(high=0.3)], ids=repr)
def test_every_library_gives_the_same_bits(operation: Operation, dtype: str) -> None:
    x = np.concatenate([POINTS, [np.nan, 1e30, -1e30]]).astype(dtype).reshape(-1, 3)
    ours = operation.step(np, {}, x)[1]
    assert ours.dtype == dtype
    np.testing.assert_array_equal(operation.step(torch_xp, {}, torch.from_numpy(x))[1].numpy(), ours)
    np.testing.assert_array_equal(stock(operation, x), ours)
    assert np.isnan(ours).sum() == 1


def test_clamp_is_min_and_max() -> None:
    x = np.array([[-2.0, -0.5, 0.0, 0.25, 7.0]])
    for low, high in [(0.0, 1.0), (-0.5, 0.25), (0.0, None), (None, 0.1)]:
        expected = x.tolist()[0]
        expected = expected if low is None else [max(value, low) for value in expected]
        expected = expected if high is None else [min(value, high) for value in expected]
        assert Clamp(low, high).step(np, {}, x)[1].tolist() == [expected]


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (math.nan, 1.0), (None, math.nan)])
def test_a_clamp_without_a_value_between_is_refused(bounds: tuple[float | None, float | None]) -> None:
    with pytest.raises(BadInput, match="clamp: no value"):
        Clamp(*bounds)


def test_gelu_multiplies_where_its_input_is_not_zero() -> None:
    counted = GELU().count(np.array([[0.0, 1.0, -2.0], [0.0, 0.0, 0.0]]), False)
    assert counted["effective_macs"].tolist() == [2, 0]  # type: ignore[union-attr]
    assert counted["dense_macs"] == 3
    assert Clamp(0.0, 1.0).count(np.ones((2, 3)), False) == {}
