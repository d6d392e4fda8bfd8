"""Random streams against published vectors and Python's integers; the sampler against its equation."""

from __future__ import annotations

import dataclasses
import math

import array_api_compat.numpy as np_xp
import array_api_compat.torch as torch_xp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikestrip import draws as random_draws
from spikestrip.errors import BadInput
from train.config import Config
from train.networks import Network
from train.neurons.bernoulli import FuseClamp, SpikeMixer, SpikeSampler

# Random123's known answers for philox4x32-10: counter, key, result
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexes(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def python_philox(counter: list[int], seed: int) -> list[int]:
    """Philox4x32-10 in Python's unbounded integers."""
    c, (k0, k1) = list(counter), (seed % 2**32, seed // 2**32)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 // 2**32 ^ c[1] ^ k0, p1 % 2**32, p0 // 2**32 ^ c[3] ^ k1, p0 % 2**32]
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_known_answers(counter, key, result, array):
    words = random_draws.philox(tuple(array([word]) for word in hexes(counter)), tuple(hexes(key)))
    assert [int(word[0]) for word in words] == hexes(result)
    low, high = hexes(key)
    assert random_draws.words_of(high << 32 | low) == (low, high)


word = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), layer=word, sample=word, step=st.integers(0, 2**34 - 1), neuron=word)
def test_a_draw_is_the_word_of_its_counter(seed, layer, sample, step, neuron):
    expected = python_philox([neuron, step // 4, layer, sample], seed)[step % 4] >> 8
    for xp, array in ((np_xp, np.array), (torch_xp, torch.tensor)):
        assert int(random_draws.draw(xp, seed, layer, array([sample]), array([step]), array([neuron]))[0]) == expected


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 9), length=st.integers(1, 11), seed=st.integers(0, 2**64 - 1))
def test_a_sequence_is_its_steps(start, length, seed):
    sample, neuron = np.arange(3, 5)[:, None], np.arange(4)[None]
    whole = random_draws.draw_sequence(np_xp, seed, 7, sample, neuron, length, start)
    assert whole.shape == (2, 4, length)
    for t in range(length):
        step = random_draws.draw(np_xp, seed, 7, sample, np.array([start + t]), neuron)
        np.testing.assert_array_equal(whole[..., t], step)
    samples, neurons = torch.from_numpy(sample), torch.from_numpy(neuron)
    ours = random_draws.draw_sequence(torch_xp, seed, 7, samples, neurons, length, start)
    np.testing.assert_array_equal(ours.numpy(), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fires_at_the_edge(dtype):
    draws = np.array([0, 1, 2**23 - 1, 2**23, 2**24 - 1])
    for p, expected in [(0.0, 0), (2.0**-25, 1), (2.0**-24, 1), (2.0**-23, 2), (0.5, 3), (1.0, 5), (math.nan, 0)]:
        assert int(random_draws.fires(np_xp, draws, np.full(5, p, dtype)).sum()) == expected


def sampler(width: int, layer: int = 0) -> SpikeSampler:
    made = SpikeSampler(width, layer).double()
    with torch.no_grad():
        made.a.copy_(torch.linspace(0.5, 2, width))
        made.b.copy_(torch.linspace(-0.2, 0.3, width))
    return made


def test_the_sampler_is_its_equation_drawn_step_by_step():
    layer = sampler(5, layer=3)
    steps, seed = 150, 99 << 32 | 7
    z = torch.randn(4, 5, steps, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spikes = layer(z, seed, first_sample=10).detach().numpy()
    a, b = np.linspace(0.5, 2, 5, dtype=np.float32), np.linspace(-0.2, 0.3, 5, dtype=np.float32)
    for t in range(steps):
        p = np.clip(a.astype(float) * z[:, :, t].numpy() + b.astype(float), 0, 1)
        r = [[python_philox([n, t // 4, 3, 10 + i], seed)[t % 4] // 256 / 2**24 for n in range(5)] for i in range(4)]
        np.testing.assert_array_equal(spikes[:, :, t], np.array(r) < p)
    assert 0.1 < spikes.mean() < 0.9


def test_the_rate_is_the_probability():
    layer = SpikeSampler(3, 1)
    z = torch.tensor([0.02, 0.5, 0.97])[:, None].expand(8, 3, 5000)
    rate = layer(z, seed=5).mean((0, 2))
    deviation = torch.sqrt(z[0, :, 0] * (1 - z[0, :, 0]) / 40000)
    assert bool(((rate - z[0, :, 0]).abs() < 5 * deviation).all())


def test_samples_layers_and_seeds_draw_apart_and_a_batch_can_be_split():
    z = torch.full((4, 6, 64), 0.5)
    layer = SpikeSampler(6, 1)
    whole = layer(z, seed=1)
    assert torch.equal(torch.cat([layer(z[:3], 1), layer(z[3:], 1, first_sample=3)]), whole)
    for other in (layer(z, 1 + 2**32), SpikeSampler(6, 2)(z, 1), layer(z, 1, first_sample=4)):
        differing = float((other != whole).float().mean().detach())
        assert 0.4 < differing < 0.6


def test_the_gradient_is_that_of_the_expectation():
    layer = sampler(3)
    middle = [0.6, 0.4, 0.2]
    z = torch.tensor([[[-9.0, value, 9.0] for value in middle]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    (layer(z, seed=0) * weight).sum().backward()
    a = np.linspace(0.5, 2, 3, dtype=np.float32).astype(float)
    # clamped steps have no gradient; the middle one is linear in a*z + b
    np.testing.assert_allclose(z.grad.numpy(), [[[0, 10 * slope, 0] for slope in a]])
    np.testing.assert_allclose(layer.a.grad.numpy(), np.multiply(10, middle))
    np.testing.assert_allclose(layer.b.grad.numpy(), [10.0] * 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [1, 63, 200])
def test_the_gradient_is_a_clamps(dtype, steps):
    random = torch.Generator().manual_seed(steps)
    z, weight = (torch.randn(3, 4, steps, dtype=dtype, generator=random) for _ in range(2))
    z[0, 0, 0], z[1, 0, 0] = 0, 1  # the ends of the clamp have its slope
    ours = SpikeSampler(4, 0).to(dtype)
    with torch.no_grad():
        ours.a[1:], ours.b[1:] = torch.tensor([0.5, 1.7, -1]), torch.tensor([0.1, 0.3, 0.9])
    x = z.clone().requires_grad_()
    (ours(x, seed=1) * weight).sum().backward()
    a, b, y = (each.detach().clone().requires_grad_() for each in (ours.a, ours.b, z))
    (torch.clamp(a[:, None] * y + b[:, None], 0, 1) * weight).sum().backward()
    assert torch.equal(x.grad, y.grad)
    torch.testing.assert_close(ours.a.grad, a.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.b.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_nan_is_refused():
    with pytest.raises(BadInput, match="NaN"):
        SpikeSampler(1, 0)(torch.full((1, 1, 1), math.nan), seed=0)


def test_mixer_mixes_neurons_within_a_step_and_fuse_normalises_the_sum():
    mixer, fuse = SpikeMixer(4, "relu"), FuseClamp(4).eval()
    x, spikes = torch.randn(2, 4, 6), (torch.rand(2, 4, 6) < 0.3).float()
    mixed = mixer(spikes)
    weight, bias = mixer.linear.weight, mixer.linear.bias
    torch.testing.assert_close(mixed[1, :, 3], (weight @ spikes[1, :, 3] + bias).clamp(min=0))
    with torch.no_grad():
        fuse.norm.running_mean.fill_(0.5)
        fuse.norm.running_var.fill_(4.0)
    torch.testing.assert_close(fuse(x, mixed), (x + mixed - 0.5) / math.sqrt(4.0 + 1e-5))
    with pytest.raises(BadInput, match="tanh"):
        SpikeMixer(4, "tanh")


def test_a_networks_samplers_start_at_the_gain_that_is_asked_for():
    network = Network(Config(1, 3, model="pspikessm", reset="none", d_model=4, d_state=2, gain=3.0))
    samplers = [module for module in network.modules() if isinstance(module, SpikeSampler)]
    assert len(samplers) == 4
    for each in samplers:
        assert (each.a.tolist(), each.b.tolist(), each.a.dtype) == ([3.0] * 4, [0.0] * 4, torch.float32)
    back = Network(Config.parse(dataclasses.asdict(network.config)))
    back.load_state_dict(network.state_dict())
    assert Config.parse({"d_input": 1, "d_output": 3}).gain == 1.0  # of a checkpoint that says none


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"gain": 3.0}, "spikingssm has no samplers"),
        ({"model": "pspikessm", "reset": "none", "gain": 0.0}, "gain is 0.0"),
        ({"model": "pspikessm", "reset": "none", "gain": math.nan}, "gain is nan"),
    ],
)
def test_a_gain_that_no_network_has(config, says):
    with pytest.raises(BadInput, match=says):
        Config(1, 3, **config)
