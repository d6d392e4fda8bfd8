"""Block speculation where its guesses fail: slow neurons, short blocks, weak input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikestrip.errors import BadInput
from train.neurons import bptt
from train.neurons import speculation as block
from train.neurons.neuron import Neuron


def neuron_of(reset: str, tau: float, dtype: torch.dtype = torch.float32) -> Neuron:
    tau_, vth, tau_r, uth = (torch.tensor(p, dtype=dtype, requires_grad=True) for p in (tau, 1.0, 0.75, 0.5))
    return Neuron(reset, tau_, vth, tau_r, uth)  # type: ignore[arg-type]


@given(
    reset=st.sampled_from(["hard", "soft", "refractory"]),
    tau=st.sampled_from([0.0, 0.125, 0.9, 0.999, 1.0]),
    scale=st.sampled_from([0.02, 1.0]),
    steps=st.integers(1, 90),
    length=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_any_cut_gives_the_eager_loop(reset: str, tau: float, scale: float, steps: int, length: int, seed: int) -> None:
    x, weight = torch.randn((2, 2, 3, steps), generator=torch.Generator().manual_seed(seed))
    x = (scale * x).requires_grad_()
    neuron = neuron_of(reset, tau)
    expected, found = bptt.run(x, neuron), block.run(x, neuron, length=length)
    assert torch.equal(expected, found)
    grads = [torch.autograd.grad((s * weight).sum(), [x, neuron.tau]) for s in (expected, found)]
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.allclose(grads[0][1], grads[1][1], rtol=1e-3, atol=1e-3)


def test_a_gradient_that_arrives_at_the_last_step_only_travels_through_every_block() -> None:
    x = (0.01 * torch.randn((1, 2, 200), generator=torch.Generator().manual_seed(0))).requires_grad_()
    neuron = neuron_of("soft", 0.99)
    grads = [torch.autograd.grad(s[..., -1].sum(), x)[0] for s in (bptt.run(x, neuron), block.run(x, neuron, length=8))]
    assert grads[0][..., 0].abs().min() > 0
    assert torch.equal(*grads)


def test_fast_neurons_need_few_passes_and_slow_ones_are_still_exact() -> None:
    """Counts passes: a constant guess would need one for each of the 100 blocks."""
    passes = 0

    def counted(*arguments: object) -> object:
        nonlocal passes
        passes += 1
        return advance(*arguments)  # type: ignore[arg-type]

    advance = block.potentials("hard")
    x = torch.randn((4, 1, 3200), generator=torch.Generator().manual_seed(0))
    parameters = {"tau": torch.tensor(0.125), "vth": torch.tensor(1.0)}
    warm = block.forgetting(0.125, torch.float32)
    block.speculate(counted, [block.cut(x, 32)], parameters, 1, warm)  # type: ignore[arg-type]
    assert passes <= 4


def test_an_empty_block_is_refused() -> None:
    with pytest.raises(BadInput, match="0 steps"):
        block.run(torch.zeros(1, 1, 4), neuron_of("hard", 0.5), length=0)
