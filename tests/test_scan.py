"""The exact forms (scan, block) against the eager loop, and the eager loop against loops written out here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.extending import register_jitable

from spikestrip.errors import BadInput
from train.neurons import _buffers, _kernels
from train.neurons._lanes import W, load, store
from train.neurons.methods import METHODS, default_method, spikes
from train.neurons.neuron import Neuron
from train.neurons.surrogate import SURROGATES

KINDS = {
    "hard": ("hard", True),
    "soft": ("soft", True),
    "refractory": ("refractory", True),
    "no reset": ("refractory", False),
}
CLOSED_FORMS = {
    "triangle": lambda d: np.maximum(0, 1 - np.abs(d)),
    "rectangle": lambda d: (np.abs(d) < 0.5).astype(float),
    "fast_sigmoid": lambda d: (1 + np.abs(d)) ** -2.0,
    "sigmoid": lambda d: np.cosh(2 * d) ** -2.0,
    "atan": lambda d: 1 / (1 + (np.pi * d) ** 2),
}


def loop(x: np.ndarray, neuron: Neuron) -> np.ndarray:
    """Spikes of each row of x (B, H, L), one number at a time in the dtype of x."""
    one = x.dtype.type(1)
    tau, vth, tau_r, uth = (
        np.zeros(x.shape[1], x.dtype) if p is None else np.broadcast_to(p.detach().numpy(), x.shape[1:2])
        for p in (neuron.tau, neuron.vth, neuron.tau_r, neuron.uth)
    )
    out = np.zeros_like(x)
    for b, h in np.ndindex(*x.shape[:2]):
        u = refractory = s = x.dtype.type(0)
        for t in range(x.shape[2]):
            v = tau[h] * u + x[b, h, t]
            if neuron.reset == "refractory":
                refractory = tau_r[h] * refractory + s
                v = v - uth[h] * refractory
            s = one if v >= vth[h] else one - one
            u = v if neuron.reset == "refractory" and not neuron.soft else v - vth[h] if s else v
            if neuron.reset == "hard" and s:
                u = one - one
            out[b, h, t] = s
    return out


def sensitivities(x: np.ndarray, weight: np.ndarray, neuron: Neuron) -> np.ndarray:
    """d(sum of weight*s) by x[0..L), tau, vth, tau_r and uth for one row: derivatives carried forward in time."""
    tau, vth, tau_r, uth = [p.item() for p in neuron.parameters.values()] + [0.0] * (4 - len(neuron.parameters))
    slope, steps = CLOSED_FORMS[neuron.surrogate], len(x)
    by_tau, by_vth, by_tau_r, by_uth = np.eye(steps + 4)[steps:]
    u = r = s = 0.0
    du, dr, ds, total = np.zeros((4, steps + 4))
    for t in range(steps):
        dr, r = tau_r * dr + by_tau_r * r + ds, tau_r * r + s
        v = tau * u + x[t] - uth * r
        dv = tau * du + by_tau * u + np.eye(steps + 4)[t] - by_uth * r - uth * dr
        s = float(v >= vth)
        ds = slope(v / vth - 1) * (dv / vth - v / vth**2 * by_vth)
        total = total + weight[t] * ds
        u, du = {
            "hard": (v * (1 - s), dv * (1 - s) - v * ds),
            "soft": (v - vth * s, dv - vth * ds - by_vth * s),
            "refractory": (v - vth * s, dv - vth * ds - by_vth * s),
            "refractory_only": (v, dv),
        }[neuron.kind]
        if neuron.gradient == "sltt":
            du, dr, ds = np.zeros((3, steps + 4))
    return total


def gradients(x: torch.Tensor, weight: torch.Tensor, neuron: Neuron, method: str) -> tuple[torch.Tensor, ...]:
    """Spikes, the gradient of x and those of the parameters."""
    x = x.detach().requires_grad_()
    s = spikes(x, neuron, method)
    return s, *torch.autograd.grad((s * weight).sum(), [x, *neuron.parameters.values()])


def neuron_of(kind: str, width: int, dtype: torch.dtype, seed: int, **fields: Any) -> Neuron:
    """Parameters between 0 and 1 for each neuron, or one for all where seed is even."""
    generator = torch.Generator().manual_seed(seed)
    shape = (width,) if seed % 2 else ()
    tau, vth, tau_r, uth = torch.rand((4, *shape), generator=generator, dtype=dtype)
    reset, soft = KINDS[kind]
    parameters = [p.requires_grad_() for p in (tau, 0.25 + vth, tau_r, uth)]
    return Neuron(reset, *parameters, soft=soft, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogate_is_its_closed_form_and_rounds_alike_in_torch_and_numba(name: str) -> None:
    function = register_jitable(SURROGATES[name])

    @njit
    def on_lanes(d, out):  # type: ignore[no-untyped-def]
        for k in range(0, d.size, W):
            store(out, k, function(load(d, k)))

    for dtype in (torch.float32, torch.float64):
        grid = torch.linspace(-12, 12, 1999 // W * W, dtype=dtype)
        d = torch.cat([grid, torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 1e-30, 1e30, 9e15], dtype=dtype).repeat(W)])
        out = np.empty(len(d), d.numpy().dtype)
        on_lanes(d.numpy(), out)
        assert torch.equal(torch.from_numpy(out), SURROGATES[name](d).to(dtype))
        np.testing.assert_allclose(out[: len(grid)], CLOSED_FORMS[name](grid.double().numpy()), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gradient", ["bptt", "sltt"])
def test_eager_gradients_equal_derivatives_carried_forward(kind: str, gradient: Any) -> None:
    for seed, surrogate in enumerate(("triangle", "sigmoid", "atan")):
        neuron = neuron_of(kind, 1, torch.float64, 2 * seed, gradient=gradient, surrogate=surrogate)
        x, weight = 0.5 + torch.randn((2, 1, 1, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        s, *found = gradients(x, weight, neuron, "bptt")
        assert 0 < s.sum() < 24
        expected = sensitivities(x[0, 0].numpy(), weight[0, 0].numpy(), neuron)
        whole = np.concatenate([f.reshape(-1).numpy() for f in found])
        np.testing.assert_allclose(whole, expected[: len(whole)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["bptt", "scan", "block"])
@given(
    kind=st.sampled_from(list(KINDS)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 70)),
    single=st.booleans(),
    ties=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_spikes_equal_a_loop(method: str, kind: str, shape: Any, single: bool, ties: bool, seed: int) -> None:
    dtype = torch.float32 if single else torch.float64
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    neuron = neuron_of(kind, shape[1], dtype, seed)
    if ties:  # quarters: sums are exact and often hit the threshold
        x = (4 * x).round() / 4
        half, one = torch.tensor(0.5, dtype=dtype), torch.tensor(1.0, dtype=dtype)
        neuron = Neuron(neuron.reset, half, one, half, half, soft=neuron.soft)
    assert np.array_equal(spikes(x, neuron, method).detach().numpy(), loop(x.numpy(), neuron))


@pytest.mark.parametrize("method", ["scan", "block"])
@given(
    kind=st.sampled_from(list(KINDS)),
    rows=st.sampled_from([(1, 1), (1, 16), (2, 8), (3, 7), (5, 10)]),
    steps=st.sampled_from([1, 2, 15, 16, 17, 48, 255, 256, 257, 301, 530]),
    gradient=st.sampled_from(["bptt", "sltt"]),
    ties=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_gradients_equal_the_eager_loop(
    method: str, kind: str, rows: Any, steps: int, gradient: Any, ties: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn((2, *rows, steps), generator=generator)
    neuron = neuron_of(kind, rows[1], torch.float32, seed, gradient=gradient)
    if ties:
        x = (4 * x).round() / 4
    assert_same(gradients(x, weight, neuron, "bptt"), gradients(x, weight, neuron, method))


def assert_same(expected: tuple[torch.Tensor, ...], found: tuple[torch.Tensor, ...]) -> None:
    """Bit-equal spikes and gradient of x; gradients of parameters to the rounding of their long sums."""
    assert torch.equal(expected[0], found[0])
    assert torch.equal(expected[1], found[1])
    precision = 1e-3 if expected[0].dtype == torch.float32 else 1e-10
    for a, b in zip(expected[2:], found[2:], strict=True):
        assert torch.allclose(a, b, rtol=precision, atol=precision * max(1.0, float(a.abs().max())))


@pytest.mark.parametrize("method", ["scan", "block"])
@pytest.mark.parametrize("kind", ["hard", "refractory"])
def test_float64_gradients_equal_the_eager_loop(method: str, kind: str) -> None:
    x, weight = torch.randn((2, 2, 9, 275), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    neuron = neuron_of(kind, 9, torch.float64, 1)
    assert_same(gradients(x, weight, neuron, "bptt"), gradients(x, weight, neuron, method))


def test_scan_takes_views_and_shares_rows_among_threads() -> None:
    threads = torch.get_num_threads()
    x = torch.randn((1200, 1, 67), generator=torch.Generator().manual_seed(2)).permute(1, 2, 0)
    neuron = neuron_of("hard", 67, torch.float32, 3)
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(gradients(x, torch.ones(1).expand(x.shape), neuron, "scan"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert np.array_equal(found[0][0].detach().numpy()[:, ::11, :99], loop(x.numpy(), neuron)[:, ::11, :99])


def test_only_wanted_gradients() -> None:
    x = torch.randn(1, 2, 20)
    for method in ("scan", "block"):
        tau = torch.tensor(0.5, requires_grad=True)
        spikes(x, Neuron("hard", tau, torch.tensor(1.0)), method).sum().backward()
        assert tau.grad is not None


@pytest.mark.parametrize("method", ["bptt", "scan", "block"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(method: str, kind: str, bad: float) -> None:
    x = torch.ones(2, 3, 40)
    x[1, 2, 5] = bad
    with pytest.raises(BadInput, match="NaN or infinity"):
        spikes(x, neuron_of(kind, 3, torch.float32, 1), method)


def test_what_cannot_be_computed_is_refused_by_name() -> None:
    x, half, one = torch.zeros(1, 2, 8), torch.tensor(0.5), torch.tensor(1.0)
    for wrong in (x[0], x[..., :0], x.int()):
        with pytest.raises(BadInput, match="neuron input"):
            spikes(wrong, Neuron("hard", half, one), "scan")
    for neuron, said in (
        (Neuron("hard", half.double(), one), "tau"),
        (Neuron("hard", torch.ones(3), one), "tau"),
        (Neuron("hard", half, 0 * one), "above 0"),
        (Neuron("refractory", half, one), "tau_r and uth"),
        (Neuron("hard", half, one, surrogate="square"), "square"),
        (Neuron("soft", half, one, gradient="rtrl"), "rtrl"),  # type: ignore[arg-type]
        (Neuron("Hard", half, one), "Hard"),  # type: ignore[arg-type]
    ):
        with pytest.raises(BadInput, match=said):
            spikes(x, neuron, "scan")
    with pytest.raises(BadInput, match="unknown 'scam'"):
        spikes(x, Neuron("hard", half, one), "scam")


def test_default_method_is_exact() -> None:
    assert default_method("cpu") == "scan"
    assert default_method(torch.device("cuda")) == ("scan" if find_spec("triton") else "block")
    assert default_method("mps") == "block"
    assert set(METHODS) >= {"bptt", "scan", "block", "sdn", "pmbc"}


def test_a_buffer_is_used_again_only_when_nothing_reaches_it() -> None:
    shape = torch.Size([3, 1001])
    first = _buffers.empty(shape, torch.float32)
    part = first.fill_(1.0)[1]
    address = first.data_ptr()
    del first
    second = _buffers.empty(shape, torch.float32).fill_(2.0)
    assert second.data_ptr() != address
    assert part.eq(1.0).all()
    del part
    third = _buffers.empty(shape, torch.float32)
    assert third.data_ptr() == address
    weight = torch.ones(1, requires_grad=True)
    product = (third.fill_(3.0) * weight).sum()  # saves third for its backward
    del third
    fourth = _buffers.empty(shape, torch.float32).fill_(4.0)
    product.backward()
    assert weight.grad is not None
    assert weight.grad.item() == 3.0 * 3003
    assert fourth.eq(4.0).all()


def test_idle_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    _buffers.forget()
    monkeypatch.setattr(_buffers, "IDLE_LIMIT", 3 * 4000)
    shapes = [torch.Size([count]) for count in (1000, 1000, 500, 1000, 1000)]
    held = [_buffers.empty(shape, torch.float32) for shape in shapes]
    while held:
        held.pop()
    idle = {count: len(buffers) for (_, count), buffers in _buffers._idle.items()}
    assert idle == {1000: 2, 500: 1}  # 2,000, 2,500 and 3,500 numbers, until a fourth buffer of the first kind came
    assert _buffers.empty(torch.Size([500]), torch.float64).dtype == torch.float64
    _buffers.forget()


def test_kernels_compile_where_no_folder_can_hold_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_folder(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(_kernels, "njit", without_folder)
    assert _kernels.compiled(lambda a: a + 1)(2) == 3
