"""Modules of sinabs as programs, and programs as modules of sinabs: the spikes of sinabs itself on whole sequences."""

from __future__ import annotations

import numpy as np
import pytest
import sinabs.layers as sl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import exact_runs, runs
from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike
from torch import nn

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from simulators.backends.sinabs import to_sinabs
from simulators.conformance import suite
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import LIF, UNBOUNDED, Affine, MultiSpikeIF
from spikestrip.program import chain

STEPS = 12


def fill(module: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Small multiples of powers of two, so that sums are exact and potentials tie with thresholds."""
    for name, parameter in module.named_parameters():
        if "weight" in name or "bias" in name:
            parameter.data = torch.from_numpy(rng.integers(-3, 4, parameter.shape) / 4).float()
    return module.eval()


def streams(module: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What sinabs' neurons and the whole module give on a batch of sequences."""
    seen: dict[str, list[torch.Tensor]] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, sl.StatefulLayer):
            layer.register_forward_hook(lambda _, __, out, path=path: seen.setdefault(path, []).append(out))
    with torch.no_grad():
        output = module(x)
    found = {path: torch.cat(outs, dim=1) if len(outs) > 1 else outs[0] for path, outs in seen.items()}
    return {path: out.numpy() for path, out in (found | {"output": output}).items()}


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, -1.0, -0.25]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_speck_network(seed: int, floor: float | None, single: bool) -> None:
    """Convolutions, IAF of both kinds and sum pooling over frames, as (B*T, C, H, W)."""
    rng = np.random.default_rng(seed)
    firing = {"spike_fn": SingleSpike} if single else {"min_v_mem": floor}
    net = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=False), sl.IAFSqueeze(batch_size=3, **firing), sl.SumPool2d(2)),
        *(nn.Conv2d(4, 3, 2, stride=2), sl.IAFSqueeze(batch_size=3), nn.Flatten(), nn.Linear(12, 5)),
        sl.IAFSqueeze(batch_size=3, **firing),
    )
    fill(net, rng)
    x = rng.integers(0, 3, (3, STEPS, 2, 8, 8)).astype(np.float32)
    program = from_torch(net, torch.from_numpy(x[:, 0]))
    stepped = NumpyBackend().run(program, x, "float64", "cpu", lambda _: None)
    expected = streams(net, torch.from_numpy(x).flatten(0, 1))
    assert np.array_equal(stepped.output.reshape(-1, 5), expected["output"])
    assert single or any(isinstance(layer.operation, MultiSpikeIF) for layer in program.layers)
    if single:
        assert np.array_equal(stepped.spikes["n01_1"].reshape(-1), expected["1"].reshape(-1))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["hard", "soft"]), st.booleans(), st.booleans())
@settings(max_examples=15, deadline=None)
def test_leaky_neurons(seed: int, reset: str, normed: bool, synapse: bool) -> None:
    rng = np.random.default_rng(seed)
    net = nn.Sequential(
        nn.Linear(3, 6),
        sl.LIF(
            tau_mem=torch.from_numpy(rng.uniform(1, 20, 6)).float(),
            tau_syn=4.0 if synapse else None,
            spike_threshold=torch.tensor(0.7),
            spike_fn=SingleSpike,
            reset_fn=MembraneReset() if reset == "hard" else MembraneSubtract(),
            norm_input=normed,
        ),
        nn.Linear(6, 2),
        sl.ExpLeak(tau_mem=7.0),
    ).eval()
    x = rng.normal(0, 4, (2, STEPS, 3)).astype(np.float32)
    program = from_torch(net, torch.from_numpy(x[:, 0]))
    found = NumpyBackend().run(program, x, "float32", "cpu", lambda _: None)
    expected = streams(net, torch.from_numpy(x))
    (name,) = found.spikes
    assert np.array_equal(found.spikes[name], expected["1"])
    np.testing.assert_allclose(found.output, expected["output"], rtol=1e-4, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, -1.0, -0.25]), st.booleans(), st.booleans())
@settings(max_examples=15, deadline=None)
def test_leaky_neurons_that_send_several(seed: int, floor: float | None, normed: bool, synapse: bool) -> None:
    """sinabs' own default LIF, between layers: its numbers of spikes are what the next layer weighs."""
    rng = np.random.default_rng(seed)
    firing = {"spike_threshold": torch.tensor(0.5), "min_v_mem": floor, "norm_input": normed}
    net = nn.Sequential(
        nn.Linear(3, 6),
        sl.LIF(tau_mem=torch.from_numpy(rng.uniform(1, 20, 6)).float(), tau_syn=4.0 if synapse else None, **firing),
        nn.Linear(6, 4),
        sl.LIF(tau_mem=3.0, **firing),
        nn.Linear(4, 2),
    ).eval()
    x = rng.normal(0, 8, (2, STEPS, 3)).astype(np.float32)
    program = from_torch(net, torch.from_numpy(x[:, 0]))
    found = NumpyBackend().run(program, x, "float32", "cpu", lambda _: None)
    expected = streams(net, torch.from_numpy(x))
    assert [name.split("_")[1] for name in found.numbers] == ["1", "3"]
    for name, numbers in found.numbers.items():
        assert np.array_equal(numbers, expected[name.split("_")[1]])
    np.testing.assert_allclose(found.output, expected["output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (sl.LIF(tau_mem=3.0, reset_fn=MembraneReset()), "several spikes"),
        (sl.LIF(tau_mem=3.0, spike_fn=SingleSpike, min_v_mem=-1.0), "min_v_mem"),
        (sl.LIF(tau_mem=3.0, spike_fn=SingleSpike, reset_fn=MembraneReset(0.5)), "silent neurons too"),
        (sl.IAF(spike_fn=SingleSpike, reset_fn=MembraneSubtract(0.25)), "another value than its threshold"),
        (sl.ALIF(tau_mem=3.0, tau_adapt=3.0), "ALIF"),
        (sl.LIFRecurrent(tau_mem=3.0, rec_connect=nn.Linear(4, 4)), "LIFRecurrent"),
        (nn.Sequential(sl.IAF(), sl.IAFSqueeze(batch_size=2)), "one kind"),
    ],
)
def test_refused_by_name(layer: nn.Module, said: str) -> None:
    with pytest.raises(Refused, match=said):
        from_torch(nn.Sequential(nn.Linear(4, 4), layer).eval(), torch.ones(2, 4))


def test_a_layer_that_flattens_time_is_refused() -> None:
    """On a step it would flatten the frame; in sinabs' own layout it makes one vector of the whole sequence."""
    net = nn.Sequential(nn.Linear(4, 4), sl.IAF(), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(BadInput, match="does not run on the example, given 8 times"):
        from_torch(net, torch.ones(2, 4))


def assert_module(program, x, dtype="float64"):
    found = streams(to_sinabs(program, dtype), torch.from_numpy(x).to(getattr(torch, dtype)))
    expected = NumpyBackend().run(program, x, dtype, "cpu", lambda _: None)
    for name, train in expected.spikes.items():
        (held,) = [out for path, out in found.items() if path.startswith(f"layers.{name}")]
        assert np.array_equal(train, held.reshape(train.shape)), name
    np.testing.assert_allclose(found["output"], expected.output, rtol=1e-9, atol=1e-12)


@given(runs())
@settings(max_examples=10, deadline=None)
def test_a_program_as_a_module(drawn) -> None:
    assert_module(*drawn)


@given(exact_runs())
@settings(max_examples=10, deadline=None)
def test_ties_in_a_module(drawn) -> None:
    assert_module(*drawn)


def test_conformance_cases_as_modules() -> None:
    """Feedback, delays, convolutions, pooling, several spikes: every case that draws nothing."""
    tried = 0
    for case in suite.cases():
        if case.dtype != "float64" or case.faulty:
            continue
        if any(layer.operation.drawn_from() is not None for layer in case.program.layers):
            with pytest.raises(Refused):
                to_sinabs(case.program)
            continue
        assert_module(case.program, case.input)
        tried += 1
    assert tried > 50


def test_every_call_starts_at_rest() -> None:
    """With another batch size too, where sinabs itself would draw a state at random from the old one."""
    program = chain((2,), [("n0", Affine(np.eye(2, dtype=np.float32))), ("n1", LIF(np.ones(2), np.full(2, 2.5)))])
    module = to_sinabs(program)
    x = torch.ones(3, 4, 2)
    first = module(x)
    assert first.sum() == 6
    assert torch.equal(module(x[:2]), first[:2])


def test_the_module_is_sinabs_own() -> None:
    program = chain((2,), [("n0", Affine(np.eye(2, dtype=np.float32))), ("n1", LIF(np.full(2, 0.5), np.ones(2)))])
    module = to_sinabs(program)
    assert isinstance(module.layers["n1"], sl.LIF)
    assert isinstance(module.layers["n0"][0], nn.Linear)
    assert (
        from_torch(nn.Sequential(nn.Linear(2, 2), module.layers["n1"]), torch.ones(1, 2))["n01_1"].operation.decay[0]
        == 0.5
    )
    assert simulate(program, np.ones((1, 2, 2), np.float32)).spikes["n1"].sum() == 4


def test_no_floor_is_none_in_sinabs_too() -> None:
    """relu(v - floor) + floor with a floor that stands for none would be 0, whatever v."""
    x = np.random.default_rng(0).normal(0.2, 0.6, (2, 40, 3)).astype(np.float32)
    for floor in ([UNBOUNDED] * 3, [UNBOUNDED, -0.5, UNBOUNDED]):
        program = chain((3,), [("n0", MultiSpikeIF(np.ones(3), np.array(floor)))])
        assert NumpyBackend().run(program, x, "float32", "cpu", lambda _: None).output.sum() > 10
        assert_module(program, x, "float32")
