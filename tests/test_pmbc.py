"""PMBC against the neuron's equations (docs/api.md) written out step by step in numpy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikestrip.errors import BadInput, Refused
from train.neurons import bptt, pmbc
from train.neurons.neuron import Neuron


def loop(x: np.ndarray, tau, vth, tau_r=None, uth=None, soft=True) -> np.ndarray:
    """Soft (no uth) or refractory neuron; x (B, H, L), parameters numbers or (H,), all in the dtype of x."""
    u = r = s = np.zeros_like(x[..., 0])
    out = np.zeros_like(x)
    for t in range(x.shape[-1]):
        v = tau * u + x[..., t]
        if uth is not None:
            r = tau_r * r + s
            v = v - uth * r
        s = (v >= vth).astype(x.dtype)
        u = v - vth * s if soft else v
        out[..., t] = s
    return out


def neuron_of(dtype: np.dtype, reset: str, soft: bool, **parameters) -> tuple[Neuron, dict]:
    arrays = {name: np.asarray(value, dtype) for name, value in parameters.items()}
    if reset == "soft":
        arrays = {name: arrays[name] for name in ("tau", "vth")}
    return Neuron(reset, soft=soft, **{n: torch.from_numpy(a) for n, a in arrays.items()}), {**arrays, "soft": soft}  # type: ignore[arg-type]


kinds = st.sampled_from([("soft", True), ("refractory", True), ("refractory", False)])
dtypes = st.sampled_from([np.float32, np.float64])


@settings(max_examples=60, deadline=None)
@given(
    kind=kinds,
    dtype=dtypes,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 130)),
    tau=st.floats(0, 1),
    tau_r=st.floats(0, 0.99),
    uth=st.floats(0, 2),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    mean=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 9999),
)
def test_spikes_are_the_loops(kind, dtype, shape, tau, tau_r, uth, scale, mean, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * scale + mean).astype(dtype)
    vth = rng.uniform(0.5, 2, shape[1])  # each neuron its own
    neuron, arrays = neuron_of(dtype, *kind, tau=tau, vth=vth, tau_r=tau_r, uth=uth)
    spikes = pmbc.run(torch.from_numpy(x), neuron).numpy()
    assert spikes.dtype == dtype
    np.testing.assert_array_equal(spikes, loop(x, **arrays))


@settings(max_examples=40, deadline=None)
@given(kind=kinds, dtype=dtypes, seed=st.integers(0, 9999), tau=st.sampled_from([0.5, 1.0]))
def test_ties_at_the_threshold_are_spikes(kind, dtype, seed, tau):
    """Inputs on a grid of eighths: potentials hit the threshold exactly, and a transform's last bit would decide."""
    x = (np.random.default_rng(seed).integers(-8, 17, (2, 3, 60)) / 8).astype(dtype)
    neuron, arrays = neuron_of(dtype, *kind, tau=tau, vth=1.0, tau_r=0.5, uth=0.25)
    report = pmbc.Report()
    spikes = pmbc.run(torch.from_numpy(x), neuron, report=report).numpy()
    truth = loop(x, **arrays)
    np.testing.assert_array_equal(spikes, truth)


def test_a_tie_is_seen_and_finished_exactly():
    x = torch.zeros(1, 2, 64, dtype=torch.float64)
    x[0, 0, 10] = 1.0  # u' = vth exactly
    neuron, _ = neuron_of(np.float64, "soft", True, tau=0.5, vth=1.0)
    report = pmbc.Report()
    spikes = pmbc.run(x, neuron, report=report)
    assert spikes.nonzero().tolist() == [[0, 0, 10]]
    assert (report.near, report.exact_rows, report.rows) == (1, 1, 2)


@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 8])
def test_a_fixed_number_of_iterations_says_what_it_missed(iterations):
    x = np.random.default_rng(3).normal(size=(4, 4, 400))
    neuron, arrays = neuron_of(np.float64, "refractory", True, tau=0.3, vth=1.0, tau_r=0.9, uth=1.0)
    truth = loop(x, **arrays)
    report = pmbc.Report()
    spikes = pmbc.run(torch.from_numpy(x), neuron, iterations, report).numpy()
    missed = int((spikes != truth).sum())
    assert not (spikes > truth).any()  # what fires is certain
    assert report.missed == missed > 0
    assert missed <= report.undecided
    assert report.iterations == iterations
    with pytest.warns(pmbc.UndecidedWarning, match=f"{missed} spikes missed"):
        pmbc.run(torch.from_numpy(x), neuron, iterations)


def test_a_report_adds_up_and_enough_iterations_are_silent():
    x = torch.from_numpy(np.random.default_rng(4).normal(size=(1, 2, 50)))
    neuron, _ = neuron_of(np.float64, "soft", True, tau=0.125, vth=1.0)
    report = pmbc.Report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pmbc.run(x, neuron, 40)
    for _ in range(3):
        pmbc.run(x, neuron, 40, report)
    assert (report.steps, report.rows, report.missed, report.undecided) == (300, 6, 0, 0)


@pytest.mark.parametrize(
    ("gradient", "reset", "soft", "dtype"),
    [
        ("bptt", "soft", True, torch.float64),
        ("bptt", "refractory", True, torch.float32),
        ("bptt", "refractory", False, torch.float64),
        ("sltt", "soft", True, torch.float32),
        ("sltt", "refractory", True, torch.float64),
    ],
)
def test_gradients_are_the_loops(gradient, reset, soft, dtype):
    generator = torch.Generator().manual_seed(5)
    grads = []
    x = torch.randn(2, 3, 70, dtype=dtype, generator=generator)
    weight = torch.randn(2, 3, 70, dtype=dtype, generator=generator)
    for method in (bptt, pmbc):
        leaves = [x.clone(), torch.full((3,), 0.6, dtype=dtype), torch.full((3,), 1.1, dtype=dtype)]
        leaves += [torch.full((3,), 0.7, dtype=dtype), torch.full((3,), 0.4, dtype=dtype)]
        used = leaves if reset == "refractory" else leaves[:3]
        for leaf in used:
            leaf.requires_grad_()
        neuron = Neuron(reset, *leaves[1:], soft=soft, gradient=gradient)
        (method.run(leaves[0], neuron) * weight).sum().backward()
        grads.append([leaf.grad for leaf in used])
    assert torch.equal(grads[0][0], grads[1][0])
    assert grads[0][0].abs().sum() > 0
    for eager, ours in zip(grads[0][1:], grads[1][1:], strict=True):
        # sums over 140 steps, in another order
        torch.testing.assert_close(eager, ours, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-5)


def refused(reset="soft", **changed) -> tuple[torch.Tensor, Neuron]:
    values = {"tau": 0.5, "vth": 1.0, "tau_r": 0.5, "uth": 1.0, **changed}
    return torch.zeros(1, 1, 4), Neuron(reset, **{name: torch.tensor(value) for name, value in values.items()})


def test_refusals_name_the_reason():
    with pytest.raises(Refused, match="hard reset"):
        pmbc.run(*refused("hard"))
    with pytest.raises(BadInput, match="uth"):
        pmbc.run(*refused("refractory", uth=-0.1))
    with pytest.raises(BadInput, match="tau_r"):
        pmbc.run(*refused("refractory", tau_r=1.5))
    with pytest.raises(BadInput, match="tau"):
        pmbc.run(*refused(tau=-0.5))
    with pytest.raises(BadInput, match="iterations"):
        pmbc.run(*refused(), iterations=0)
    x, neuron = refused()
    with pytest.raises(BadInput, match="NaN"):
        pmbc.run(x * float("nan"), neuron)
