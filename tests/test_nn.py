"""ss.nn: each module against a loop over time in float64, trained, and as a program with its own spikes."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikestrip.nn import LIF, LRU, S4D, SpikingSSM
from test_ssm import step_by_step
from torch import Tensor, nn
from torch.nn import functional as F

import spikestrip as ss
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import BadInput, Refused

SEEDS = st.integers(0, 2**31)
LENGTHS = st.integers(1, 150)
RESETS = ("hard", "soft", "refractory")


def scattered(module: nn.Module, seed: int) -> nn.Module:
    """``module`` with thresholds, norms and refractory parameters that differ from channel to channel."""
    torch.manual_seed(seed)
    for name, value in module.state_dict().items():
        last = name.split(".")[-1]
        if last in ("ln_vth", "ln_uth", "logit_tau_r", "running_mean"):
            value.uniform_(-1, 0.5)
        elif last == "running_var" or name.endswith("norm.weight"):
            value.uniform_(0.5, 2)
    return module


def fired(module: LIF, x: np.ndarray) -> np.ndarray:
    """The neuron's equations, one step at a time: x (B, L, H)."""
    vth, tau = module.ln_vth.detach().double().exp().numpy(), module.config.tau
    refractory = module.config.reset == "refractory"
    if refractory:
        tau_r = module.logit_tau_r.detach().double().sigmoid().numpy()
        uth = module.ln_uth.detach().double().exp().numpy()
    u = r = s = np.zeros(x[:, 0].shape)
    spikes = np.empty_like(x)
    for t in range(x.shape[1]):
        u = tau * u + x[:, t]
        if refractory:
            r = tau_r * r + s
            u = u - uth * r
        s = (u >= vth).astype(np.float64)
        u = u * (1 - s) if module.config.reset == "hard" else u - vth * s
        spikes[:, t] = s
    return spikes


def recurred(module: LRU, x: Tensor) -> Tensor:
    a, b, c, d = module.matrices()
    h, outputs = torch.zeros(len(x), len(a), dtype=torch.complex128), []
    for now in x.unbind(1):
        h = a * h + now.to(torch.complex128) @ b.T
        outputs.append((h @ c.T).real + d * now)
    return torch.stack(outputs, 1)


def sequences(seed: int, length: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, length, width, generator=generator, dtype=torch.float64) + 0.3


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, length=LENGTHS, size=st.integers(1, 5), reset=st.sampled_from(RESETS), tau=st.floats(0.05, 1))
def test_lif_is_the_loop(seed, length, size, reset, tau):
    module = scattered(LIF(size, tau, reset=reset), seed)
    x = sequences(seed, length, size)
    assert np.array_equal(module(x).detach().numpy(), fired(module, x.numpy()))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, length=LENGTHS, size=st.integers(1, 5), modes=st.integers(1, 6))
def test_lru_is_the_loop(seed, length, size, modes):
    torch.manual_seed(seed)
    module, x = LRU(size, modes), sequences(seed, length, size)
    expected = recurred(module, x)
    assert (module(x) - expected).abs().max() <= 1e-12 * expected.abs().max().clamp(min=1)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, length=LENGTHS, size=st.integers(1, 5), rule=st.sampled_from(["zoh", "bilinear"]))
def test_s4d_is_the_loop(seed, length, size, rule):
    torch.manual_seed(seed)
    module, x = S4D(size, 6, rule=rule), sequences(seed, length, size)
    expected = step_by_step(module.discretise(), x.mT.numpy()).swapaxes(1, 2)
    assert np.abs(module(x).detach().numpy() - expected).max() <= 1e-12 * max(1, np.abs(expected).max())


BLOCKS = [
    {},
    {"mix": "glu", "norm": "layer", "prenorm": True},
    {"mix": "glu", "norm": "batch"},
    {"norm": "none", "reset": "soft", "tau": 0.5, "learn_threshold": False},
    {"norm": "batch", "prenorm": True, "reset": "refractory"},
]


@pytest.mark.parametrize("options", BLOCKS, ids=str)
@torch.no_grad()
def test_the_block_is_its_parts(options):
    module = scattered(SpikingSSM(5, 6, **options), 0).double().eval()
    block, x = module.block, sequences(1, 90, 5)

    def normed(stream: Tensor) -> Tensor:
        return block.norm(stream.mT).mT if isinstance(block.norm, nn.BatchNorm1d) else block.norm(stream)

    entering = normed(x) if block.config.prenorm else x
    driven = step_by_step(block.ssm.discretise(), entering.mT.numpy()).swapaxes(1, 2)
    spikes = torch.from_numpy(fired(block.neuron, driven))
    mixed = F.glu(block.mix(spikes)) if block.config.mix == "glu" else block.mix(spikes)
    expected = x + mixed if block.config.prenorm else normed(x + mixed)
    assert 0.01 < spikes.mean() < 0.9
    torch.testing.assert_close(module(x), expected, rtol=1e-11, atol=1e-11)


def made(name: str) -> nn.Module:
    return {
        "LIF": lambda: LIF(4),
        "LIF refractory": lambda: LIF(4, 0.5, reset="refractory"),
        "LRU": lambda: LRU(4, 3),
        "S4D": lambda: S4D(4, 6),
        "SpikingSSM": lambda: SpikingSSM(4, 6, mix="glu"),
    }[name]()


NAMES = ("LIF", "LIF refractory", "LRU", "S4D", "SpikingSSM")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_training_moves_every_parameter(name):
    torch.manual_seed(0)
    module, x = made(name), sequences(0, 60, 4).float()
    before = copy.deepcopy(module.state_dict())
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    (module(x) - 0.3).square().mean().backward()
    optimiser.step()
    assert [each for each, value in module.named_parameters() if torch.equal(value, before[each])] == []


def test_gradients_of_lru_are_those_of_the_loop():
    torch.manual_seed(1)
    module, x = LRU(3, 4).double(), sequences(2, 80, 3).requires_grad_()
    held = [x, *module.parameters()]
    weights = torch.randn(2, 80, 3, dtype=torch.float64)
    ours = torch.autograd.grad((module(x) * weights).sum(), held)
    theirs = torch.autograd.grad((recurred(module, x) * weights).sum(), held)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_saved_and_read_as_plain_tensors(name):
    module, file = made(name), io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = made(name)
    again.load_state_dict(torch.load(file, weights_only=True))
    x = sequences(3, 20, 4)
    module, again = module.double().eval(), again.double().eval()
    assert torch.equal(module(x), again(x))


class Mine(nn.Module):
    """Modules of ours among torch's, in a forward of one's own."""

    def __init__(self, width: int, reset: str, mix: str, norm: str) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, width)
        self.lru, self.first = LRU(width, 5), LIF(width, 0.5, reset=reset)
        self.between = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(), nn.LayerNorm(width))
        self.s4d, self.second = S4D(width, 6, rule="bilinear"), LIF(width, reset=reset)
        self.blocks = nn.ModuleList(SpikingSSM(width, 6, mix=mix, norm=norm, reset=reset) for _ in range(2))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        x = x + 0.5 * self.first(self.lru(x))
        x = x + self.second(self.s4d(self.between(x)))
        for block in self.blocks:
            x = block(x)
        return F.gelu(self.head(x))


def spikes_of(module: nn.Module, x: Tensor) -> list[np.ndarray]:
    """Of every neuron in ``module``, in order, (B, L, H), with the output last."""
    seen: list[np.ndarray] = []
    hooks = [
        inner.register_forward_hook(lambda m, _, out: seen.append((out if type(m) is LIF else out.mT).numpy()))
        for path, inner in module.named_modules()
        if type(inner) is LIF or path.endswith("block.neuron")
    ]
    with torch.no_grad():
        output = module(x).numpy()
    for hook in hooks:
        hook.remove()
    return [*seen, output]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from(RESETS), st.sampled_from(["linear", "glu"]), st.sampled_from(["batch", "layer", "none"]))
def test_a_module_of_ones_own_and_its_program_fire_alike(seed, reset, mix, norm):
    torch.manual_seed(seed)
    net = scattered(Mine(6, reset, mix, norm), seed).eval()
    x = sequences(seed, 70, 3)
    program = ss.from_torch(net, x[:, 0])
    *trains, output = spikes_of(net.double(), x)
    found = NumpyBackend().run(program, x.numpy(), "float64", "cpu", lambda _: None)
    assert len(found.spikes) == len(trains) == 4
    for expected, spikes in zip(trains, found.spikes.values(), strict=True):
        assert np.array_equal(spikes, expected)
    assert any(0.01 < expected.mean() < 0.99 for expected in trains)
    np.testing.assert_allclose(found.output, output, rtol=1e-9, atol=1e-9)


def test_the_module_is_left_as_it_was():
    net = Mine(4, "hard", "glu", "batch").eval()
    before = copy.deepcopy(net.state_dict())
    ss.from_torch(net, torch.randn(2, 3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_an_lru_on_other_backends(tmp_path):
    torch.manual_seed(5)
    net = nn.Sequential(LRU(4, 3), LIF(4), nn.Linear(4, 2))
    program = ss.from_torch(net, torch.randn(2, 4))
    ss.save(program, tmp_path / "lru.nir")
    program = ss.load(tmp_path / "lru.nir")
    x = sequences(5, 30, 4).float().numpy()
    truth = ss.simulate(program, x)
    assert truth.spikes[program.spiking[0].name].any()
    for backend in ("raster", "torch", "onnxruntime"):
        assert ss.verify(truth, ss.simulate(program, x, backend), program).causes == {}


def test_an_lru_of_discrete_values():
    rng = np.random.default_rng(0)
    a = torch.tensor([0.9, -0.5, 0.3 + 0.8j, 0.3 - 0.8j], dtype=torch.complex128)
    b, c = (torch.from_numpy(rng.normal(size=shape) + 1j * rng.normal(size=shape)) for shape in ((4, 3), (3, 4)))
    d = torch.tensor([0.0, 1.0, -2.0])
    layer = LRU.of(a, b, c, d)
    for found, given_ in zip(layer.matrices(), (a, b, c, d.double()), strict=True):
        torch.testing.assert_close(found, given_, rtol=1e-15, atol=1e-15)
    x = sequences(6, 40, 3)
    h, expected = np.zeros((2, 4), complex), []
    for t in range(40):
        h = a.numpy() * h + x[:, t].numpy() @ b.numpy().T
        expected.append((h @ c.numpy().T).real + d.numpy() * x[:, t].numpy())
    np.testing.assert_allclose(layer(x).detach().numpy(), np.stack(expected, 1), rtol=1e-12, atol=1e-12)
    for wrong in (
        (1.1 * a / a.abs().max(), b, c, d),
        (0 * a, b, c, d),
        (a, b[:3], c, d),
        (a, b, c.T, d),
        (a, b, c, d[:2]),
    ):
        with pytest.raises(BadInput, match="LRU"):
            LRU.of(*wrong)


@pytest.mark.parametrize("make", [
    lambda: LIF(3, 1.5), lambda: LIF(3, reset="none"), lambda: LIF(0), lambda: S4D(3, 5), lambda: LRU(3, 0),
    lambda: LRU(3, r_min=0.9, r_max=0.5), lambda: SpikingSSM(3, 5), lambda: SpikingSSM(3, mix="product"),
])  # fmt: skip
def test_options_that_make_no_module(make):
    with pytest.raises(BadInput):
        make()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_with_a_nan_are_refused_and_never_silence(name):
    for parameter in dict(made(name).named_parameters()):
        module = made(name)
        module.get_parameter(parameter).data.view(-1)[0] = torch.nan
        try:
            output = module(sequences(0, 20, 4).float())
        except BadInput:
            continue
        assert output.isnan().any(), parameter


@pytest.mark.parametrize("name", NAMES)
def test_input_of_another_shape(name):
    with pytest.raises(BadInput):
        made(name)(torch.randn(2, 4))
    with pytest.raises((BadInput, RuntimeError)):
        made(name)(torch.randn(2, 7, 5))


def test_what_can_not_be_said_is_refused_by_name():
    class Mended(LIF):
        pass

    unfinished = LIF(4)
    unfinished.ln_vth.data[1] = torch.nan
    for net, said in (
        (nn.Sequential(nn.Linear(4, 4), Mended(4)), "1: is a Mended, not one of the layers"),
        (nn.Sequential(LIF(4), snntorch.Leaky(0.9, init_hidden=True)), "use one kind"),
        (nn.Sequential(nn.Linear(4, 4), SpikingSSM(4, 6)).train(), "1: is in training mode"),
        (nn.Sequential(LIF(4), nn.Flatten()), "gives no stream over time"),
        (nn.Sequential(nn.Linear(4, 4), LIF(5)), "1: "),
        (unfinished, "ln_vth holds NaN"),
    ):
        with pytest.raises(BadInput, match=said):
            ss.from_torch(net, torch.ones(2, 4))


def test_a_loop_over_time_around_a_sequence_module_is_refused():
    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = LIF(4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.lif(x[:, t, None])[:, 0] for t in range(x.shape[1])], 1)

    with pytest.raises(Refused):
        ss.from_torch(Looped(), torch.ones(2, 4))


def test_it_is_train_nn_under_a_short_name():
    import train.nn

    assert ss.nn is train.nn
    assert ss.nn.LIF is LIF


@pytest.mark.slow  # the compiler takes seconds to load
def test_torch_compile_goes_around_them():
    """The same outputs, spikes and gradients, to the bit, and a second length of sequences."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 6), S4D(6, 4), LIF(6), nn.ReLU(), LRU(6, 4), SpikingSSM(6, 4, norm="layer"))
    compiled = torch.compile(net, backend="eager")
    for length in (20, 33):
        results = []
        for module in (net, compiled):
            net.zero_grad()
            y = module(sequences(1, length, 2).float())
            y.square().mean().backward()
            results.append([y.detach(), *(parameter.grad for parameter in net.parameters())])
        for ours, theirs in zip(*results, strict=True):
            assert torch.equal(ours, theirs)
