"""Modules of spikingjelly as programs: the spikes of spikingjelly itself, or a refusal by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import Refused

REASON = "spikingjelly's modules are checked only where it is installed: pip install 'spikestrip[peers]'"
neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason=REASON)
layer = pytest.importorskip("spikingjelly.activation_based.layer", reason=REASON)
functional = pytest.importorskip("spikingjelly.activation_based.functional", reason=REASON)
surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate", reason=REASON)

STEPS = 14
NODES = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode, neuron.CUBALIFNode)


def module_runs(net: nn.Module, x: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What every neuron and the whole net give, (B, T, ...), stepped by spikingjelly; x is (B, T, ...)."""
    seen: dict[str, list[torch.Tensor]] = {}
    multi = any(getattr(module, "step_mode", "s") == "m" for module in net.modules())
    multi |= any(type(module).__name__ in ("MultiStepContainer", "SeqToANNContainer") for module in net.modules())
    handles = [
        each.register_forward_hook(lambda _, __, out, path=path: seen.setdefault(path, []).append(out))
        for path, each in net.named_modules()
        if isinstance(each, NODES)
    ]
    functional.reset_net(net)
    with torch.no_grad():
        whole = net(x.transpose(0, 1)) if multi else torch.stack([net(x[:, t]) for t in range(x.shape[1])])
    functional.reset_net(net)
    for handle in handles:
        handle.remove()
    held = {path: outs[0] if multi and len(outs) == 1 else torch.stack(outs) for path, outs in seen.items()}
    return {path: out.transpose(0, 1).numpy() for path, out in held.items()}, whole.transpose(0, 1).numpy()


def assert_equal(net: nn.Module, x: torch.Tensor, dtype: str = "float64") -> int:
    """Every spike; returns how many there were."""
    program = from_torch(net, x[:, 0])
    spikes, output = module_runs(net, x)
    found = NumpyBackend().run(program, x.numpy(), dtype, "cpu", lambda _: None)
    for path, train in spikes.items():
        (name,) = [each for each in found.spikes if each.split("_", 1)[1] == path.replace(".", "_")]
        assert np.array_equal(found.spikes[name], train.reshape(*x.shape[:2], -1) != 0), path
    np.testing.assert_allclose(found.output, output, rtol=1e-9, atol=1e-12)
    return int(sum(np.count_nonzero(train) for train in spikes.values()))


def node(rng: np.random.Generator, kind: type, mode: str) -> Any:
    given = {"v_threshold": float(rng.uniform(0.2, 1.5)), "v_reset": [None, 0.0, -0.3, 0.1][rng.integers(4)]}
    if kind is neuron.CUBALIFNode:
        made = kind(float(rng.uniform(0, 1)), float(rng.uniform(0, 1)), **given)
        made.step_mode = mode
        if made.v_reset not in (None, 0.0):
            made.v_reset = 0.0
        return made
    given |= {"detach_reset": bool(rng.integers(2)), "step_mode": mode}
    given["surrogate_function"] = [surrogate.ATan(), surrogate.Sigmoid(), surrogate.Rect()][rng.integers(3)]
    if kind is neuron.IFNode:
        return kind(**given)
    tau, decay_input = float(rng.uniform(1.1, 5)), bool(rng.integers(2))
    made = kind(tau, decay_input, **given)
    return made


@given(st.integers(0, 2**32 - 1), st.sampled_from(NODES), st.sampled_from("sm"))
@settings(max_examples=40, deadline=None)
def test_neurons(seed: int, kind: type, mode: str) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(layer.Linear(4, 6, step_mode=mode), node(rng, kind, mode)),
        *(layer.Dropout(0.5, step_mode=mode), nn.Linear(6, 5), node(rng, kind, mode)),
    )
    net = net.double().eval()
    assert_equal(net, torch.from_numpy(rng.normal(0.3, 3, (2, STEPS, 4))))


def test_ties_and_defaults() -> None:
    """tau = 2, v_threshold = 1, input of halves: every second potential is exactly at the threshold, which fires."""
    for made in (neuron.IFNode(), neuron.LIFNode(), neuron.ParametricLIFNode(), neuron.LIFNode(v_reset=None)):
        net = nn.Sequential(nn.Identity(), made).eval()
        x = torch.from_numpy(np.random.default_rng(3).integers(-2, 7, (3, STEPS, 5)) / 2)
        fired = assert_equal(net.double(), x)
        assert fired > 20
        assert_equal(net.float(), x.float(), "float32")


@pytest.mark.parametrize("mode", ["s", "m"])
def test_a_convolutional_network_as_published(mode: str) -> None:
    """conv_fashion_mnist.py of spikingjelly's examples, smaller."""
    torch.manual_seed(1)
    conv = nn.Sequential(
        *(layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4)),
        *(neuron.IFNode(surrogate_function=surrogate.ATan()), layer.MaxPool2d(2, 2)),
        *(layer.Conv2d(4, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4)),
        *(neuron.IFNode(surrogate_function=surrogate.ATan()), layer.MaxPool2d(2, 2)),
        *(layer.Flatten(), layer.Linear(16, 20, bias=False), neuron.IFNode(surrogate_function=surrogate.ATan())),
        *(layer.Linear(20, 20, bias=False), neuron.IFNode(surrogate_function=surrogate.ATan()), layer.VotingLayer(4)),
    )
    for norm in (module for module in conv if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.05, 0.1)
    functional.set_step_mode(conv, mode)
    x = torch.rand(2, STEPS, 1, 8, 8).double()
    assert assert_equal(conv.double().eval(), x) > 100


def test_containers() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
        layer.MultiStepContainer(neuron.IFNode(v_reset=None), nn.Flatten()),
        layer.SeqToANNContainer(nn.Linear(48, 6)),
        neuron.LIFNode(step_mode="m"),
    )
    assert assert_equal(net.double().eval(), torch.rand(2, STEPS, 1, 6, 6).double() * 4) > 20
    assert_equal(net[1], torch.rand(2, STEPS, 3, 2).double())


def test_their_own_networks() -> None:
    """A residual network of spikingjelly's model zoo."""
    try:
        from spikingjelly.activation_based.model import sew_resnet as resnet
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        pytest.skip(f"spikingjelly's model zoo needs torchvision: {error}")
    torch.manual_seed(0)
    net = resnet.sew_resnet18(cnf="ADD", spiking_neuron=neuron.IFNode, num_classes=4)
    from_torch(net.eval(), torch.randn(1, 3, 32, 32))


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.neuron = layer.Linear(3, 3, step_mode="m"), neuron.IFNode(step_mode="m")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.fc(x)).mean(0)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (nn.Sequential(layer.SeqToANNContainer(neuron.IFNode())), r"^0\.0: stands in a SeqToANN"),
        (nn.Sequential(neuron.KLIFNode()), "^0: is a KLIFNode"),
        (nn.Sequential(neuron.IFNode(), layer.Linear(3, 3, step_mode="m")), "one kind"),
        (nn.Sequential(neuron.IFNode(surrogate_function=surrogate.Sigmoid(spiking=False))), "no step at 0"),
        (Mean(), r"mean\(\)"),
        (nn.Sequential(layer.TLastMultiStepContainer(neuron.IFNode())), "^0: is a TLastMultiStepContainer"),
    ],
)
def test_refused_by_name(made: nn.Module, said: str) -> None:
    with pytest.raises(Refused, match=said):
        from_torch(made.eval(), torch.ones(2, 3))


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(neuron.LIFNode())
    net(torch.ones(2, 3))
    before = net[0].v.clone()
    from_torch(net, torch.ones(2, 3))
    assert torch.equal(net[0].v, before)
    assert before.dtype == net[0].v.dtype
