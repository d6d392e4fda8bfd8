"""The Triton form of the scan, run by Triton's interpreter on the CPU, against the CPU's kernels."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from train.neurons import methods
from train.neurons.neuron import Neuron
from train.neurons.surrogate import SURROGATES

pytest.importorskip("triton", reason="triton is not installed: pip install 'spikestrip[gpu]'")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """The module as Triton's interpreter runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        sys.modules.pop("train.neurons.scan_cuda", None)
        yield importlib.import_module("train.neurons.scan_cuda")
        sys.modules.pop("train.neurons.scan_cuda")


def neuron(kind: str, dtype: torch.dtype, surrogate: str, gradient: str, width: int) -> Neuron:
    p = {
        "tau": torch.linspace(0.1, 0.9, width), "vth": torch.linspace(0.5, 1.5, width),
        "tau_r": torch.linspace(0.3, 0.7, width), "uth": torch.linspace(0.2, 1.1, width),
    }  # fmt: skip
    reset = "refractory" if kind.startswith("refractory") else kind
    values = {name: value.to(dtype).requires_grad_() for name, value in p.items()}
    return Neuron(reset, **values, soft=kind != "refractory_only", surrogate=surrogate, gradient=gradient)


def same(module: ModuleType, n: Neuron, batch: int, steps: int) -> None:
    dtype, generator = n.tau.dtype, torch.Generator().manual_seed(steps)
    x = (1.5 * torch.randn(batch, 5, steps, dtype=dtype, generator=generator)).requires_grad_()
    weights = torch.randn(x.shape, dtype=dtype, generator=generator)
    theirs, ours = methods.spikes(x, n, "scan"), module.run(x, n)
    assert 0.05 < float(theirs.detach().mean()) < 0.9
    assert torch.equal(ours, theirs)
    inputs = [x, *n.parameters.values()]
    expected, found = (torch.autograd.grad(spikes, inputs, weights) for spikes in (theirs, ours))
    assert expected[0].count_nonzero() > expected[0].numel() // 10
    assert torch.equal(found[0], expected[0])
    for a, b in zip(expected[1:], found[1:], strict=True):  # of parameters: float64 sums over rows, in another order
        torch.testing.assert_close(b, a, rtol=4 * torch.finfo(dtype).eps, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["hard", "soft", "refractory", "refractory_only"])
@pytest.mark.parametrize("gradient", ["bptt", "sltt"])
def test_equal_to_the_cpu(interpreted: ModuleType, kind: str, dtype: torch.dtype, gradient: str) -> None:
    same(interpreted, neuron(kind, dtype, "triangle", gradient, 5), 7, 9)  # 35 rows: one warp and a part of another


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate(interpreted: ModuleType, surrogate: str, dtype: torch.dtype) -> None:
    same(interpreted, neuron("hard", dtype, surrogate, "bptt", 5), 2, 9)


def test_more_steps_than_are_summed_in_one_dtype(interpreted: ModuleType) -> None:
    same(interpreted, neuron("refractory", torch.float32, "triangle", "bptt", 5), 1, 270)


def test_without_gradient_nothing_is_kept(interpreted: ModuleType) -> None:
    n = neuron("hard", torch.float32, "triangle", "bptt", 3)
    x = torch.randn(2, 3, 20)
    with torch.no_grad():
        assert torch.equal(interpreted.run(x, n), methods.spikes(x, n, "scan"))


def test_a_nan_is_refused(interpreted: ModuleType) -> None:
    n = neuron("hard", torch.float32, "triangle", "bptt", 3)
    x = torch.zeros(1, 3, 9)
    x[0, 1, 4] = float("nan")
    with pytest.raises(Exception, match="NaN"):
        interpreted.run(x, n)
