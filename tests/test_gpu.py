"""What only a CUDA machine can show: ``make test-gpu``."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from convert.strip import strip
from deploy.verification.compare import verify
from simulators.reference import Form, reference
from train import checkpoint, tasks
from train.config import Config
from train.loop import train
from train.networks import Network
from train.neurons import methods
from train.neurons.neuron import Neuron
from train.neurons.surrogate import SURROGATES
from train.recipe import Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ZOO = Path(__file__).parent.parent / "zoo"


def neuron(kind: str, dtype: torch.dtype, device: str, **fields: str) -> Neuron:
    width = 33
    p = {
        "tau": torch.linspace(0.05, 0.95, width), "vth": torch.linspace(0.5, 1.5, width),
        "tau_r": torch.linspace(0.3, 0.7, width), "uth": torch.linspace(0.2, 1.1, width),
    }  # fmt: skip
    values = {name: value.to(device, dtype).requires_grad_() for name, value in p.items()}
    reset = "refractory" if kind.startswith("refractory") else kind
    return Neuron(reset, **values, soft=kind != "refractory_only", **fields)  # type: ignore[arg-type]


def run(n: Neuron, x: Tensor, weights: Tensor, method: str) -> list[Tensor]:
    """Spikes, and the gradients of x and of the parameters, on the CPU."""
    x = x.to(n.tau.device).requires_grad_()
    spikes = methods.spikes(x, n, method)
    found = torch.autograd.grad(spikes, [x, *n.parameters.values()], weights.to(x.device))
    return [value.detach().cpu() for value in (spikes, *found)]


CASES = [("hard", name, "bptt") for name in SURROGATES] + [
    (kind, "triangle", gradient) for kind in ("hard", "soft", "refractory", "refractory_only")
    for gradient in ("bptt", "sltt")
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "surrogate", "gradient"), CASES)
def test_scan_and_block_are_the_cpu_s_to_the_bit(kind: str, surrogate: str, gradient: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 1.5 * torch.randn(5, 33, 700, dtype=dtype, generator=generator)
    weights = torch.randn(x.shape, dtype=dtype, generator=generator)
    weights[..., 300:] = 0  # behind it gradients decay into subnormal numbers
    fields = {"surrogate": surrogate, "gradient": gradient}
    truth = run(neuron(kind, dtype, "cpu", **fields), x, weights, "scan")
    assert 0.05 < float(truth[0].mean()) < 0.9
    for method in ("scan", "block"):
        found = run(neuron(kind, dtype, "cuda", **fields), x, weights, method)
        assert torch.equal(found[0], truth[0]), method
        differ = int((found[1] != truth[1]).sum())
        assert differ == 0, f"{method}: {differ} gradients differ, by {(found[1] - truth[1]).abs().max():g}"
        for a, b in zip(truth[2:], found[2:], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4 if dtype == torch.float32 else 1e-11, atol=1e-4)


def test_gradients_against_float64() -> None:
    generator = torch.Generator().manual_seed(2)
    x = 1.5 * torch.randn(4, 33, 300, generator=generator)
    weights = torch.randn(x.shape, generator=generator)
    found = run(neuron("hard", torch.float32, "cuda"), x, weights, "scan")
    truth = run(neuron("hard", torch.float64, "cpu"), x.double(), weights.double(), "bptt")
    same = (found[0] == truth[0]).all(-1)
    assert float(same.double().mean()) > 0.95
    error = (found[1].double() - truth[1])[same].norm() / truth[1][same].norm()
    assert float(error) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["parallel", "iterative"])
def test_a_reference_made_on_cuda_verifies(form: Form, dtype: str) -> None:
    network = checkpoint.load(ZOO / "smnist.safetensors").network
    x = np.random.default_rng(0).random((4, 784, 1), np.float32)
    here = reference(network, x, "iterative", dtype, "cpu")
    there = reference(network, x, form, dtype, "cuda")
    assert "cuda" in str(there.attrs["device"])
    assert verify(there, here, strip(network)).passed


def test_a_network_trains_on_cuda_as_on_the_cpu() -> None:
    task = tasks.load("digits")
    config = Config(d_input=task.channels, d_output=task.classes, d_model=16, d_state=8, layers=2)
    losses = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        network = Network(config)
        recipe = Recipe((("scan", 2),), target_rate=0.1, label_smoothing=0.1)
        progress = train(network, task.train, recipe, device, validation=task.test)
        losses[device] = progress.epochs
        assert all(p.device.type == device for p in network.parameters())
    for a, b in zip(losses["cpu"], losses["cuda"], strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
        assert b["spiking_rate"] == pytest.approx(a["spiking_rate"], rel=0.05)


def test_a_nan_stops_training_on_cuda() -> None:
    task = tasks.load("digits")
    inputs = task.train.inputs.copy()
    inputs[0, 5] = np.nan
    split = dataclasses.replace(task.train, inputs=inputs)
    network = Network(Config(d_input=task.channels, d_output=task.classes, d_model=16, d_state=8, layers=1))
    with pytest.raises(Exception, match=r"NaN|finite"):
        train(network, split, Recipe((("scan", 1),)), "cuda")
