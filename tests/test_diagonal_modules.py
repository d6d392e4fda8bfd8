"""Diagonal SSMs in plain torch: one step of them is recognised, or a line names the module of ours to use."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import Refused

H, N, STEPS = 4, 3, 40


class Plain(nn.Module):
    """What the ways of writing it have in common: a (N,), b (N, H), c (H, N) and d (H,)."""

    def __init__(self) -> None:
        super().__init__()
        self.nu, self.theta = nn.Parameter(torch.rand(N)), nn.Parameter(torch.rand(N))
        self.B = nn.Parameter(torch.randn(N, H, dtype=torch.cfloat))
        self.C = nn.Parameter(torch.randn(H, N, dtype=torch.cfloat))
        self.D = nn.Parameter(torch.randn(H))

    def a(self) -> Tensor:
        return torch.exp(torch.complex(-torch.exp(self.nu), self.theta))


class Step(Plain):
    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = x.to(self.B.dtype) @ self.B.T
        h = u if h is None else self.a() * h + u
        return (h @ self.C.T).real + self.D * x, h


class Pairs(Plain):
    """S5's, with parameters as pairs of reals, conjugate pairs folded, and einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.B, self.C = nn.Parameter(torch.randn(N, H, 2)), nn.Parameter(torch.randn(H, N, 2))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        a = torch.exp(-torch.exp(self.nu) + 1j * self.theta)
        h = torch.einsum("nh,bh->bn", torch.view_as_complex(self.B), x + 0j) + h * a
        return 2 * torch.einsum("hn,bn->bh", torch.view_as_complex(self.C), h).real + F.linear(x, self.D.diag()), h


class Deep(nn.Module):
    """Two of them among other layers, with a neuron after each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.first, self.second = nn.Linear(2, H), Step(), Step()
        self.fire, self.again = (snntorch.Leaky(0.5, reset_mechanism=how) for how in ("zero", "subtract"))
        self.head = nn.Linear(H, 2)

    def forward(self, x, h=None, m=None, g=None, n=None):
        y, h = self.first(F.relu(self.encoder(x)), h)
        s, m = self.fire(y, m)
        y, g = self.second(s, g)
        s, n = self.again(y, n)
        return self.head(s), h, m, g, n


def stepped(module: nn.Module, x: np.ndarray, states: list) -> np.ndarray:
    """The outputs of ``module``, in float64, given its states back."""
    module, outputs = module.double(), []
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            if value.is_complex():
                setattr(part, name, nn.Parameter(value.detach().to(torch.complex128)))
        if isinstance(part, snntorch.Leaky):  # whose spikes are float32
            part.register_forward_hook(lambda _, __, out: (out[0].double(), *out[1:]))
    with torch.no_grad():
        for t in range(x.shape[1]):
            output, *states = module(torch.from_numpy(x[:, t]), *states)
            outputs.append(output.numpy())
    return np.stack(outputs, 1)


def run(program, x: np.ndarray):
    return NumpyBackend().run(program, x, "float64", "cpu", lambda _: None)


@pytest.mark.filterwarnings("ignore:Casting complex values")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([Step, Pairs]))
def test_a_step_is_recognised(seed, kind):
    torch.manual_seed(seed)
    module, x = kind(), np.random.default_rng(seed).normal(size=(2, STEPS, H))
    program = from_torch(module, torch.from_numpy(x[:, 0]))
    parts = [value.detach().numpy().astype(complex) for value in (module.a(), module.D)]
    b, c = (
        torch.view_as_complex(value.detach()).numpy() if value.ndim == 3 else value.detach().numpy()
        for value in (module.B, module.C)
    )
    h, expected = np.zeros((2, N), complex), []
    for t in range(STEPS):
        h = parts[0] * h + x[:, t] @ b.T
        expected.append((1 + (kind is Pairs)) * (h @ c.T).real + parts[1].real * x[:, t])
    scale = np.abs(expected).max()
    assert np.abs(run(program, x).output - np.stack(expected, 1)).max() < 1e-5 * scale  # its own a is float32 here
    assert sum(layer.operation.kind == "s4d" for layer in program.layers) == 1


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("seed", range(8))
def test_steps_among_neurons_fire_as_the_module_does(seed):
    torch.manual_seed(seed)
    module, x = Deep(), 4 * np.random.default_rng(seed).normal(size=(3, STEPS, 2))
    program = from_torch(module, torch.from_numpy(x[:, 0]))
    found = run(program, x)
    np.testing.assert_allclose(found.output, stepped(module, x, [None] * 4), rtol=1e-9, atol=1e-9)
    assert any(0.02 < spikes.mean() < 0.98 for spikes in found.spikes.values())


def test_a_real_state_is_a_leaky_integrator():
    class Average(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.randn(H))

        def forward(self, x, h=None):
            a = torch.sigmoid(self.a)
            h = (1 - a) * x if h is None else a * h + (1 - a) * x
            return F.relu(h), h

    torch.manual_seed(0)
    module, x = Average(), np.random.default_rng(0).normal(size=(2, STEPS, H))
    program = from_torch(module, torch.from_numpy(x[:, 0]))
    assert [layer.operation.kind for layer in program.layers] == ["scale", "li", "clamp"]
    np.testing.assert_allclose(run(program, x).output, stepped(module, x, []), rtol=1e-12, atol=1e-12)


class Loop(Plain):
    """The scan as a loop over (B, T, H)."""

    def forward(self, x):
        a, outputs = self.a(), []
        h = torch.zeros(x.shape[0], N, dtype=torch.cfloat)
        for t in range(x.shape[1]):
            h = a * h + x[:, t].to(self.B.dtype) @ self.B.T
            outputs.append((h @ self.C.T).real + self.D * x[:, t])
        return torch.stack(outputs, 1)


class Stacked(Plain):
    """Two of them over (T, B, H), each with its own zeros, and a neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.fire, self.mix = snntorch.Leaky(0.5), nn.Linear(H, H)

    def forward(self, x):
        a, outputs, mem = self.a(), [], self.fire.init_leaky()
        h, g = x.new_zeros(x.shape[1], N), torch.zeros(x.shape[1], N, dtype=torch.cfloat)
        for step in x:
            h = h * a + step.to(self.B.dtype) @ self.B.T
            spikes, mem = self.fire((h @ self.C.T).real, mem)
            g = a * g + self.mix(spikes).to(self.B.dtype) @ self.B.T
            outputs.append((g @ self.C.T).real)
        return torch.stack(outputs)


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [Loop, Stacked])
def test_a_loop_over_time_is_folded_to_its_step(seed, kind):
    torch.manual_seed(seed)
    module, x = kind(), 3 * torch.randn(2, STEPS, H)
    program = from_torch(module, x[:, 0])
    with torch.no_grad():
        expected = module(x).numpy() if kind is Loop else module(x.transpose(0, 1)).transpose(0, 1).numpy()
    found = run(program, x.double().numpy())
    if kind is Stacked:
        assert next(iter(found.spikes.values())).any()
    assert np.abs(found.output - expected).max() < 1e-5 * np.abs(expected).max()


class Averaged(nn.Module):
    """A loop whose zeros are multiplied by a number before anything is traced, and one that reads what was."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late

    def forward(self, x):
        h, outputs = torch.zeros(x.shape[1], H), []
        for step in x:
            before, h = h, 0.5 * h + step
            outputs.append(F.relu(before + step if self.late else h))
        return torch.stack(outputs)


@pytest.mark.parametrize("late", [True, False])
def test_other_loops_are_refused(late):
    with pytest.raises(Refused):
        from_torch(Averaged(late), torch.randn(2, H))


class Powers(Plain):
    """The scan as a cumulative sum."""

    def forward(self, x):
        u = x.to(self.B.dtype) @ self.B.T
        power = self.a()[None] ** torch.arange(x.shape[1])[:, None]
        return ((power * torch.cumsum(u / power, 1)) @ self.C.T).real


class Fourier(Plain):
    def forward(self, x):
        length = x.shape[1]
        kernel = (self.a()[:, None] ** torch.arange(length)).real.sum(0)
        product = torch.fft.rfft(x, n=2 * length, dim=1) * torch.fft.rfft(kernel, n=2 * length)[:, None]
        return torch.fft.irfft(product, n=2 * length, dim=1)[:, :length]


class Kept(Plain):
    """Its state in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(N, dtype=torch.cfloat))

    def forward(self, x):
        self.h = self.a() * self.h + x.to(self.B.dtype) @ self.B.T
        return (self.h @ self.C.T).real


@pytest.mark.parametrize("kind", [Powers, Fourier, Kept])
@pytest.mark.parametrize("alone", [True, False])
def test_what_no_step_shows_names_the_module_of_ours(kind, alone):
    torch.manual_seed(0)
    net = kind() if alone else nn.Sequential(nn.Linear(H, H), kind())
    with pytest.raises(Refused, match=r"complex numbers: give a diagonal SSM as ss\.nn\.LRU"):
        from_torch(net, torch.randn(2, H))


def test_a_refusal_without_complex_numbers_says_nothing_of_them():
    with pytest.raises(Refused) as caught:
        from_torch(nn.Sequential(nn.Linear(H, H), nn.Sigmoid()), torch.randn(2, H))
    assert "complex" not in str(caught.value)


class Twice(Plain):
    def forward(self, x, h):
        u = x.to(self.B.dtype) @ self.B.T
        return ((self.a() * h + u) @ self.C.T).real, 0.5 * h + u


class Lost(Plain):
    def forward(self, x, h):
        return ((self.a() * h + x.to(self.B.dtype) @ self.B.T) @ self.C.T).real


class Swapped(Step):
    def forward(self, x, h, g):
        u = x.to(self.B.dtype) @ self.B.T
        first, second = self.a() * h + u, 0.5 * g + u
        return (first @ self.C.T + second @ self.C.T).real, second, first


class Mixed(Plain):
    """Samples read one another."""

    def forward(self, x, h):
        u = torch.einsum("nh,bh->bn", self.B, x + 0j)
        h = self.a() * h + torch.einsum("bn,cb->cn", u, torch.ones(2, 2) + 0j)
        return (h @ self.C.T).real, h


class Shifted(Plain):
    def forward(self, x, h):
        h = self.a() * h + F.linear(x + 0j, self.B, self.B[:, 0])
        return (h @ self.C.T).real, h


class Before(Plain):
    """Its output reads the state before."""

    def forward(self, x, h):
        return (h @ self.C.T).real, self.a() * h + x.to(self.B.dtype) @ self.B.T


class Undone(Plain):
    def forward(self, x, h):
        h = self.a() * h + x.to(self.B.dtype) @ self.B.T
        return h.abs(), h


class RealIn(Plain):
    def forward(self, x, h):
        h = self.a() * h + x[:, :N]
        return (h @ self.C.T).real, h


class Whole(Plain):
    def forward(self, x, h):
        h = self.a() * h + x.to(self.B.dtype) @ self.B.T
        return F.relu(h @ self.C.T), h


class Squared(Plain):
    def forward(self, x, h):
        u = x.to(self.B.dtype) @ self.B.T
        h = self.a() * h + u * u
        return (h @ self.C.T).real, h


class OfItself(Plain):
    def forward(self, x, h):
        h = h * h + x.to(self.B.dtype) @ self.B.T
        return (h @ self.C.T).real, h


@pytest.mark.parametrize("kind", [Twice, Lost, Mixed, Shifted, Before, Undone, RealIn, Whole, Squared, OfItself])
def test_other_states_are_refused(kind):
    torch.manual_seed(0)
    with pytest.raises(Refused):
        from_torch(kind(), torch.randn(2, H))


def test_the_order_in_which_states_come_back_decides():
    """Swapped is another network: the state that h gets is g's next one."""
    torch.manual_seed(0)
    with pytest.raises(Refused):
        from_torch(Swapped(), torch.randn(2, H))
