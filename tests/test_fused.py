"""S4D and its neuron in one kernel against the two apart: in float64 all of it, in float32 to rounding."""

from __future__ import annotations

import pytest
import torch
from commands import run
from torch import nn

from spikestrip.errors import BadInput
from train import fused
from train.checkpoint import load
from train.config import Config
from train.fused import kernels
from train.networks import Network
from train.neurons.methods import spikes
from train.neurons.neuron import Neuron
from train.run import command
from train.score import spiking_rates
from train.ssm import S4D

SMALL = {"d_input": 1, "d_output": 3, "d_model": 16, "d_state": 2, "layers": 1, "parallel": "fused"}
TIED = {"dropout": 0.1, "tie_dropout": True}
# (B, H, L), modes: one step, lanes left over and an odd N, blocks left over and several segments, more than one task
SHAPES = [((1, 1, 1), 1), ((2, 3, 37), 5), ((9, 40, 600), 3), ((17, 64, 33), 16)]


def parts(shape, modes, kind, dtype, gradient="bptt"):
    torch.manual_seed(0)
    width = shape[1]
    ssm = S4D(width, 2 * modes).to(dtype)
    tau_r, uth = (torch.full((width,), value, dtype=dtype, requires_grad=True) for value in (0.5, 0.9))
    vth = (0.5 + torch.rand(width, dtype=dtype)).requires_grad_()
    neuron = Neuron(kind, torch.tensor(0.125, dtype=dtype, requires_grad=True), vth, tau_r, uth, gradient=gradient)
    return torch.randn(shape, dtype=dtype).requires_grad_(), ssm, neuron


def gradients(fired, same, x, ssm, neuron):
    """Spikes, and the gradients of all that they depend on, where x and the rate are used beside the spikes too."""
    weight = torch.linspace(-1, 1, fired.numel(), dtype=torch.float64).cos().to(fired.dtype).view(fired.shape)
    rate = spiking_rates([fired])[0]
    torch.testing.assert_close(rate, fired.mean())
    loss = (fired * weight).sum() + (same * weight.square()).sum() + fired.numel() * rate.square()
    return [fired, *torch.autograd.grad(loss, [x, *neuron.parameters.values(), *ssm.parameters()])]


def apart(x, ssm, neuron):
    return gradients(spikes(ssm(x), neuron, "scan"), x, x, ssm, neuron)


def together(x, ssm, neuron):
    return gradients(*fused.spikes(x, ssm, neuron), x, ssm, neuron)


@pytest.mark.parametrize(("shape", "modes"), SHAPES)
@pytest.mark.parametrize(("kind", "gradient"), [("hard", "bptt"), ("soft", "sltt"), ("refractory", "bptt")])
def test_float64_is_the_layer_then_the_neuron(shape, modes, kind, gradient):
    given = parts(shape, modes, kind, torch.float64, gradient)
    fired, *found = together(*given)
    expected, *wanted = apart(*given)
    assert torch.equal(fired, expected)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-11 * b.abs().max()


def test_the_rate_alone_has_the_gradient_of_a_mean():
    x, ssm, neuron = parts((2, 3, 37), 5, "hard", torch.float64)
    (ours,) = torch.autograd.grad(spiking_rates([fused.spikes(x, ssm, neuron)[0]])[0], x)
    (expected,) = torch.autograd.grad(spikes(ssm(x), neuron, "scan").mean(), x)
    torch.testing.assert_close(ours, expected)
    assert expected.abs().max() > 0


def test_float32_gradients_are_within_1e_5_of_float64():
    single = parts((4, 64, 784), 16, "hard", torch.float32)
    double = parts((4, 64, 784), 16, "hard", torch.float64)
    x, ssm, neuron = double
    x.data.copy_(single[0])
    ssm.load_state_dict(single[1].state_dict())
    for name, parameter in neuron.parameters.items():
        parameter.data.copy_(single[2].parameters[name])
    fired, *found = together(*single)
    expected, *wanted = apart(*double)
    assert torch.equal(fired.double(), expected)
    assert fired.mean() > 0.05
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def block_by(form, shape, dtype, expanded=False, dropped=0.0):
    """norm(x + dropout(mix(spikes))), spikes, gradients and the norm's statistics, by torch's operations or by one
    function."""
    generator = torch.Generator().manual_seed(0)

    def draw(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).float().to(dtype)

    x, ssm, neuron = parts(shape, 3, "hard", dtype)
    x.data.copy_(3 * draw(*shape))
    neuron.vth.data.copy_(0.5 + draw(shape[1]).abs())
    mix, norm = nn.Linear(shape[1], shape[1]).to(dtype), nn.BatchNorm1d(shape[1]).to(dtype)
    for parameter in (*mix.parameters(), *norm.parameters()):
        parameter.data.copy_(draw(parameter.shape))
    dropout = nn.Dropout1d(dropped)
    torch.manual_seed(1)
    if form == "one":
        assert fused.holds(mix, norm, dropout, x)
        out, bits = fused.block(x, ssm, neuron, mix, norm, dropout)
        fired, rate = bits.train(), bits.rate
    else:
        fired = spikes(ssm(x), neuron, "scan")
        out = norm(x + dropout(mix(fired.transpose(1, 2)).transpose(1, 2)))
        fired, rate = fired.float(), fired.mean()
    weight = draw(shape[0], shape[1], 1).expand(shape) if expanded else draw(*shape)
    of = [x, *neuron.parameters.values(), *ssm.parameters(), mix.weight, *norm.parameters()]
    gradients = torch.autograd.grad((out * weight).sum() + out.numel() * rate.square(), of)
    return [fired, out, rate, *gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked]


@pytest.mark.parametrize(("expanded", "dropped"), [(False, 0.0), (True, 0.0), (False, 0.4)])
@pytest.mark.parametrize("shape", [(2, 8, 1), (3, 24, 200), (50, 64, 11), (5, 40, 37)])
def test_a_block_is_torchs(shape, expanded, dropped):
    by = (block_by(form, shape, torch.float64, expanded, dropped) for form in ("one", "apart"))
    for a, b in zip(*by, strict=True):
        assert (a - b).abs().max() <= 1e-10 * b.abs().max().clamp(min=1)


def test_a_block_in_float32_is_as_near_float64_as_torchs():
    shape = (20, 64, 300)
    ours, torchs, exact = (
        block_by(form, shape, dtype)
        for form, dtype in (("one", torch.float32), ("apart", torch.float32), ("apart", torch.float64))
    )
    assert torch.equal(ours[0], exact[0])
    assert torch.equal(torchs[0], exact[0])
    for a, b, c in zip(ours[1:], torchs[1:], exact[1:], strict=True):
        assert (a - c).abs().max() <= max(1e-5 * c.abs().max(), 3 * (b - c).abs().max())


def test_threads_change_no_bit_of_a_block():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(block_by("one", (40, 32, 100), torch.float32, dropped=0.1))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.1},
        TIED | {"drop_spikes": True},
        {"norm": "layer"},
        {"norm": "none"},
        {"mix": "glu"},
        {"prenorm": True},
        {"d_model": 20},
    ],
)
def test_what_the_one_function_does_not_hold_is_torchs(change, monkeypatch):
    monkeypatch.setattr(fused, "block", None)
    network = Network(Config(**(SMALL | change)))
    network.train()(torch.randn(2, 30, 1))[0].sum().backward()


def test_threads_and_segments_change_no_spike_and_threads_no_bit(monkeypatch):
    given = parts((33, 40, 100), 4, "hard", torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = together(*given)
        torch.set_num_threads(3)
        three = together(*given)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
    monkeypatch.setattr(kernels, "SEGMENT", 2 * kernels.T)
    assert torch.equal(one[0], together(*given)[0])


@pytest.mark.parametrize("options", [
    {}, {"mix": "glu", "norm": "layer", "prenorm": True}, {"norm": "none", "model": "spikessm", "reset": "refractory"},
    {"d_model": 1}, {"d_model": 24}, {"prenorm": True}, {"readout": "sequence", "tokens": True, "d_input": 7},
])  # fmt: skip
def test_a_network_is_the_one_that_scans(options):
    torch.manual_seed(0)
    config = Config(**{"d_input": 2, "d_output": 3, "d_model": 20, "d_state": 4, "parallel": "fused"} | options)
    network = Network(config).double()
    x = torch.randint(7, (4, 90)) if config.tokens else torch.randn(4, 90, 2, dtype=torch.float64)
    found = {}
    for method in ("fused", "scan"):
        network.set_parallel(method)
        network.zero_grad()
        logits, trains = network(x)
        (logits.square().sum() + spiking_rates(trains).sum()).backward()
        dense = [train if isinstance(train, torch.Tensor) else train.train() for train in trains]
        found[method] = [*dense, logits, *(p.grad.clone() for p in network.parameters())]
    size = max(p.abs().max() for p in found["scan"])
    for a, b in zip(found["fused"], found["scan"], strict=True):
        assert (a - b).abs().max() <= 1e-10 * size


def test_training_repeats_bit_for_bit(tmp_path):
    options = ["--task", "digits", "--epochs", "2", "--parallel", "fused", "--d-model", "16", "--d-state", "4"]
    for name in ("a.pt", "b.pt"):
        done = run(command, *options, "--out", tmp_path / name)
        assert done.code == 0, done.stderr
    first, second = load(tmp_path / "a.pt"), load(tmp_path / "b.pt")
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    assert first.metrics["accuracy"] > 0.3


def test_what_cannot_be_computed_is_refused():
    x, ssm, neuron = parts((2, 3, 8), 2, "hard", torch.float32)
    with pytest.raises(BadInput, match="S4D"):
        fused.spikes(x, S4D(4, 4), neuron)
    x.data[1, 2, 3] = float("nan")
    with pytest.raises(BadInput, match="NaN"):
        fused.spikes(x, ssm, neuron)
