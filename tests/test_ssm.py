"""S4D: every form against the recurrence written out in float64, the discretisation and the initialisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from spikestrip.errors import BadInput
from spikestrip.operations import ssm as operations
from train.ssm import S4D, Discrete, discretise
from train.ssm import block_convolution as blocks_module
from train.ssm.convolution import causal_convolution
from train.ssm.kernel import kernel

NAMES = ("log_dt", "log_A_real", "A_imag", "B", "C", "D")


def layer(d_model=3, d_state=8, *, double=True, seed=0, **options):
    torch.manual_seed(seed)
    module = S4D(d_model, d_state, **options)
    return module.double() if double else module


def step_by_step(discrete: Discrete, x: np.ndarray) -> np.ndarray:
    """h[t] = a h[t-1] + b x[t]; y[t] = 2 Re(sum c h[t]) + d x[t], in complex128."""
    a, b = discrete.a_re + 1j * discrete.a_im, discrete.b_re + 1j * discrete.b_im
    c = discrete.c_re + 1j * discrete.c_im
    y = np.empty_like(x)
    for row in range(x.shape[0]):
        h = np.zeros_like(a)
        for t in range(x.shape[2]):
            h = a * h + b * x[row, :, t]
            y[row, :, t] = 2 * (c * h).sum(0).real + discrete.d * x[row, :, t]
    return y


@pytest.mark.parametrize("form", ["block", "fft", "recurrent"])
@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("init", ["lin", "inv", "legs"])
@torch.no_grad()
def test_every_form_is_the_recurrence(init, rule, form):
    module = layer(init=init, rule=rule)
    # one step, one block, an odd length, a length that needs padding, one that doesn't
    for length in (1, 2, 71, 73, 401, 784):
        x = torch.randn(2, 3, length, dtype=torch.float64)
        expected = step_by_step(module.discretise(), x.numpy())
        assert np.abs(module(x, form).numpy() - expected).max() < 1e-12 * max(1, np.abs(expected).max())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    modes=st.integers(1, 5),
    length=st.integers(1, 300),
    form=st.sampled_from(["block", "fft", "recurrent"]),
    rule=st.sampled_from(["zoh", "bilinear"]),
)
def test_every_form_is_the_recurrence_for_any_shape(seed, batch, channels, modes, length, form, rule):
    module = layer(channels, 2 * modes, seed=seed, rule=rule)
    x = torch.randn(batch, channels, length, dtype=torch.float64)
    with torch.no_grad():
        expected = step_by_step(module.discretise(), x.numpy())
        assert np.abs(module(x, form).numpy() - expected).max() < 1e-12 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("form", "bound"), [("block", 2e-6), ("fft", 4e-6), ("recurrent", 2e-7)])
@torch.no_grad()
def test_float32_stays_near_the_float64_recurrence(form, bound):
    module = layer(8, 32, double=False, init="inv")
    x = torch.randn(2, 8, 2048)
    y = module(x, form)
    expected = step_by_step(module.discretise(), x.double().numpy())
    assert y.dtype == torch.float32
    assert np.abs(y.numpy() - expected).max() < bound * np.abs(expected).max()


@torch.no_grad()
def test_float32_module_takes_float64_input_exactly():
    module = layer(double=False)
    x = torch.randn(2, 3, 500, dtype=torch.float64)
    expected = step_by_step(module.discretise(), x.numpy())
    for form in ("block", "fft", "recurrent"):
        assert np.abs(module(x, form).numpy() - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("d_state", [2, 6, 16])  # 1, 3 and 8 modes: with and without padding of the tree sum
@torch.no_grad()
def test_recurrent_form_gives_the_bits_of_the_iterative_layer(d_state):
    module = layer(4, d_state)
    x = torch.randn(2, 4, 50, dtype=torch.float64)
    operation = operations.S4D(*module.discretise())
    state = {name: np.zeros((2, *shape)) for name, shape in operation.state_shapes((4,)).items()}
    y = module(x, "recurrent").numpy()
    for t in range(50):
        state, expected = operation.step(np, state, x[:, :, t].numpy())
        assert np.array_equal(y[:, :, t], expected)


@pytest.mark.parametrize("length", [1, 2, 3, 50, 257])
def test_kernel_is_the_sum_of_powers(length):
    rng = np.random.default_rng(0)
    a = rng.uniform(0.5, 1, (5, 3)) * np.exp(1j * rng.uniform(-3, 3, (5, 3)))
    w = rng.normal(size=(5, 3)) + 1j * rng.normal(size=(5, 3))
    expected, power = np.empty((5, length)), np.ones_like(a)
    for step in range(length):
        expected[:, step] = 2 * (w * power).sum(1).real
        power = power * a
    found = kernel(torch.from_numpy(a), torch.from_numpy(w), length).numpy()
    assert np.abs(found - expected).max() < 1e-13 * np.abs(expected).max()


def test_kernel_in_slices_of_channels_is_the_whole_kernel(monkeypatch):
    module = layer(7, 8)
    whole = module.kernel(100)
    monkeypatch.setattr("train.ssm.kernel.CACHE", 1)
    assert torch.allclose(module.kernel(100), whole, rtol=0, atol=1e-15)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_kernel_gradient(length):
    def random():
        return torch.randn(3, 2, dtype=torch.complex128, requires_grad=True)

    torch.manual_seed(0)
    a, w = random(), random()
    assert torch.autograd.gradcheck(lambda a, w: kernel(a, w, length), (a, w))
    # a vanished mode (bilinear rule, dt A = -2) has a gradient too: of a**1, which no quotient by a could give
    zero = torch.zeros(1, 1, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: kernel(a, torch.ones_like(a), length), (zero,))


@pytest.mark.parametrize("form", ["block", "fft"])
@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("length", [1, 5, 8, 11])
def test_gradients_of_the_layer(form, rule, length, monkeypatch):
    monkeypatch.setattr(blocks_module, "block_length", lambda length: 4)  # several blocks, padding, and neither
    module = layer(2, 4, rule=rule)
    parameters = dict(module.named_parameters())
    assert set(parameters) == set(NAMES)

    def apply(x, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (x, form))

    x = torch.randn(2, 2, length, dtype=torch.float64, requires_grad=True)
    values = [value.detach().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(apply, (x, *values))


def test_gradients_of_both_forms_agree_at_full_size():
    module = layer(4, 16, init="legs")
    x = torch.randn(3, 4, 784, dtype=torch.float64)
    target = torch.randn_like(x)
    grads = {}
    for form in ("block", "fft"):
        module.zero_grad()
        ((module(x, form) - target) ** 2).sum().backward()
        grads[form] = [parameter.grad.clone() for parameter in module.parameters()]
    for block, fft in zip(grads["block"], grads["fft"], strict=True):
        assert (block - fft).abs().max() < 1e-10 * fft.abs().max()


def test_b_can_be_fixed():
    module = layer(train_b=False)
    assert "B" not in dict(module.named_parameters())
    assert set(module.state_dict()) == set(NAMES)


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_discretisation_of_a_real_system_of_two_states(rule):
    """A conjugate pair -r +- iw is the real system x' = [[-r, -w], [w, -r]] x + [1, 0] u, read out as 2 x_0 ..."""
    r, w, dt = 0.7, 2.3, 0.19
    system, drive = np.array([[-r, -w], [w, -r]]), np.array([1.0, 0.0])
    if rule == "zoh":
        # the exponential of the system with its input held constant, as one matrix
        held = expm(dt * np.block([[system, drive[:, None]], [np.zeros((1, 3))]]))
        a_bar, b_bar = held[:2, :2], held[:2, 2]
    else:
        left = np.linalg.inv(np.eye(2) - dt / 2 * system)
        a_bar, b_bar = left @ (np.eye(2) + dt / 2 * system), dt * left @ drive
    a, b = discretise(
        torch.tensor([math.log(dt)], dtype=torch.float64),
        torch.tensor([[math.log(r)]], dtype=torch.float64),
        torch.tensor([[w]], dtype=torch.float64),
        torch.tensor([[[1.0, 0.0]]], dtype=torch.float64),
        rule,
    )
    # z = x_0 + i x_1 obeys z' = (-r + iw) z + u
    assert a.item() == pytest.approx(a_bar[0, 0] + 1j * a_bar[1, 0], abs=1e-15)
    assert b.item() == pytest.approx(b_bar[0] + 1j * b_bar[1], abs=1e-15)


def test_zoh_of_a_tiny_step_keeps_its_digits():
    """(exp(z) - 1)/z = 1 + z/2 + ...: written as a difference it would lose eight digits here."""
    b = discretise(
        torch.tensor([math.log(1e-9)], dtype=torch.float64),
        torch.zeros(1, 1, dtype=torch.float64),
        torch.ones(1, 1, dtype=torch.float64),
        torch.tensor([[[1.0, 0.0]]], dtype=torch.float64),
        "zoh",
    )[1].item()
    z = math.exp(math.log(1e-9)) * (-1 + 1j)
    assert abs(b / math.exp(math.log(1e-9)) - (1 + z / 2)) < 1e-15


def test_discrete_arrays_are_modes_first_and_float64():
    discrete = layer(3, 10, double=False).discretise()
    assert {array.shape for array in discrete[:6]} == {(5, 3)}
    assert discrete.d.shape == (3,)
    assert {array.dtype for array in discrete} == {np.dtype(np.float64)}


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("init", ["lin", "inv", "legs"])
def test_stable_whatever_the_parameters(init, rule):
    module = layer(16, 64, init=init, rule=rule)
    with torch.no_grad():
        module.log_dt.add_(torch.randn_like(module.log_dt) * 2)
        module.log_A_real.add_(torch.randn_like(module.log_A_real) * 3)
    discrete = module.discretise()
    assert np.hypot(discrete.a_re, discrete.a_im).max() < 1


def test_initial_values():
    lin, inv, legs = (layer(2, 64, init=init) for init in ("lin", "inv", "legs"))
    for module in (lin, inv, legs):
        assert torch.allclose(torch.exp(module.log_A_real), torch.tensor(0.5, dtype=torch.float64))
        assert torch.equal(module.B, torch.tensor([1.0, 0.0], dtype=torch.float64).expand(2, 32, 2))
    for n in range(32):
        assert lin.A_imag[1, n].item() == pytest.approx(math.pi * n, rel=1e-6)
        assert inv.A_imag[1, n].item() == pytest.approx(64 / math.pi * (64 / (2 * n + 1) - 1), rel=1e-6)
    # HiPPO-LegS: -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it; normal once p p^T is added, p = sqrt(n+1/2)
    hippo = np.zeros((64, 64))
    for n in range(64):
        for k in range(n + 1):
            hippo[n, k] = -(n + 1) if n == k else -math.sqrt((2 * n + 1) * (2 * k + 1))
    p = np.sqrt(np.arange(64) + 0.5)
    eigenvalues = np.linalg.eigvals(hippo + np.outer(p, p))
    assert np.abs(eigenvalues.real + 0.5).max() < 1e-9
    assert np.allclose(legs.A_imag[1].detach().numpy(), np.sort(eigenvalues.imag)[::-1][:32], rtol=1e-5)


def test_initial_spread():
    module = layer(4000, 4, dt_range=(0.01, 1.0))
    log_dt = module.log_dt.detach()
    assert log_dt.min() >= math.log(0.01) - 1e-6
    assert log_dt.max() <= 1e-6
    assert log_dt.mean().item() == pytest.approx(math.log(0.1), abs=0.1)
    assert (module.C**2).sum(-1).mean().item() == pytest.approx(1, abs=0.1)
    assert (module.D**2).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("form", ["block", "fft", "recurrent"])
@torch.no_grad()
def test_the_future_does_not_change_the_past(form):
    module = layer(2, 8)
    x = torch.randn(1, 2, 301, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 200:] += 100
    before, after = module(x, form), module(changed, form)
    assert (before - after)[..., :200].abs().max() < 1e-11
    assert (before - after)[..., 200].abs().min() > 1e-3


def test_convolution_of_counts_is_exact_to_rounding():
    """Integers have an exact answer: numpy's convolution of whole numbers."""
    rng = np.random.default_rng(0)
    x, k = rng.integers(-9, 9, (2, 3, 97)), rng.integers(-9, 9, (3, 97))
    found = causal_convolution(torch.from_numpy(x).double(), torch.from_numpy(k).double()).numpy()
    for row in range(2):
        for channel in range(3):
            assert np.array_equal(np.rint(found[row, channel]), np.convolve(x[row, channel], k[channel])[:97])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_parameters_that_are_not_finite(name, value):
    module = layer()
    getattr(module, name).data.view(-1)[1] = value
    for call in (
        module.discretise,
        lambda: module(torch.zeros(1, 3, 4, dtype=torch.float64)),
        lambda: module.kernel(4),
    ):
        with pytest.raises(BadInput, match=f"parameter {name} "):
            call()


@pytest.mark.parametrize("shape", [(3, 5), (1, 4, 5), (1, 3, 0), (0, 3, 5), (1, 1, 3, 5)])
def test_refuses_shapes(shape):
    with pytest.raises(BadInput, match="must be"):
        layer()(torch.zeros(shape, dtype=torch.float64))


def test_refuses_options_and_types():
    for options in ({"d_model": 0}, {"d_state": 7}, {"d_state": 0}, {"init": "hippo"}, {"rule": "euler"}):
        with pytest.raises(BadInput, match=next(iter(options))):
            S4D(**{"d_model": 3, "d_state": 8, **options})
    with pytest.raises(BadInput, match="dt_range"):
        S4D(3, dt_range=(0.1, 0.001))
    with pytest.raises(BadInput, match="float32 or float64"):
        layer()(torch.zeros(1, 3, 4, dtype=torch.float16))
    with pytest.raises(BadInput, match="form"):
        layer()(torch.zeros(1, 3, 4), "loop")
    with pytest.raises(BadInput, match="no gradient"):
        layer()(torch.zeros(1, 3, 4), "recurrent")
