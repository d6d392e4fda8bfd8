"""Stripping: the iterative program gives the spikes of the network that it came from."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convert.strip import strip
from simulators.reference import reference
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, Affine
from train.config import Config
from train.networks import Network

CONFIGS = [
    {},
    {"mix": "glu", "norm": "layer"},
    {"mix": "glu", "norm": "batch"},
    {"norm": "batch", "prenorm": True},
    {"norm": "layer", "prenorm": True, "mix": "glu"},
    {"norm": "none", "reset": "soft", "ssm_rule": "bilinear"},
    {"model": "spikessm", "reset": "refractory", "tau_r": 0.7, "uth": 0.4},
    {"readout": "sequence", "dropout": 0.5},
    {"tokens": True, "d_input": 7},
    {"model": "pspikessm", "reset": "none", "seed": 2**40 + 3},
    {"model": "pspikessm", "reset": "none", "mix": "glu", "norm": "layer", "readout": "sequence"},
    {"model": "pspikessm", "reset": "none", "norm": "none", "tokens": True, "d_input": 7},
    {"model": "pspikessm", "reset": "none", "ssm_activation": "gelu", "dropout": 0.5, "tie_dropout": True},
    {"mix": "glu", "norm": "layer", "prenorm": True, "dropout": 0.3, "tie_dropout": True, "drop_spikes": True},
    {"learn_threshold": False},
]


def trained(seed: int, /, **overrides) -> Network:
    """A small network whose norms have seen data and whose thresholds differ from neuron to neuron."""
    torch.manual_seed(seed)
    values = {"d_input": 2, "d_output": 3, "d_model": 9, "d_state": 3, "parallel": "bptt"} | overrides
    network = Network(Config(**values))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            ranges = {"ln_vth": (-1, 0.3), "a": (0.5, 1.5), "b": (-0.2, 0.4)}
            if (last := name.split(".")[-1]) in ranges:
                parameter.uniform_(*ranges[last])
        network.train()
        for _ in range(3):
            network(inputs(network, seed, batch=8, steps=20))
    return network.eval()


def inputs(network: Network, seed: int, batch: int, steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if network.config.tokens:
        return torch.randint(network.config.d_input, (batch, steps, 1), generator=generator)
    return 2 * torch.randn(batch, steps, network.config.d_input, generator=generator) + 0.5


@pytest.mark.parametrize("overrides", CONFIGS, ids=str)
@given(seed=st.integers(0, 1000), steps=st.sampled_from([1, 17, 40]))
@settings(max_examples=4, deadline=None)
def test_parallel_and_iterative_spikes_are_equal_in_float64(overrides, seed, steps):
    network = trained(seed, **overrides)
    x = inputs(network, seed + 1, batch=3, steps=steps).numpy()
    parallel = reference(network, x, "parallel", "float64", "cpu")
    iterative = reference(network, x, "iterative", "float64", "cpu")
    assume(steps == 1 or any(train.any() for train in iterative.spikes.values()))  # silence would prove nothing
    for name, train in iterative.spikes.items():
        np.testing.assert_array_equal(train, parallel.spikes[name])
    np.testing.assert_allclose(iterative.output, parallel.output, atol=1e-10)
    assert iterative.attrs["program_sha256"] == parallel.attrs["program_sha256"]


def test_batch_norm_is_folded_with_its_eps():
    network = trained(0)
    norm = network.blocks[0].norm
    norm.running_var.fill_(1e-5)  # eps is as large as the variance: leaving it out would scale by 1.41
    program = strip(network)
    mix = next(layer.operation for layer in program.layers if layer.name.endswith("block0_mix"))
    gain = norm.weight.detach().double().numpy() / np.sqrt(2e-5)
    assert isinstance(mix, Affine)
    expected = gain[:, None] * network.blocks[0].mix.weight.detach().double().numpy()
    np.testing.assert_allclose(mix.weight, expected, rtol=1e-6)


def test_thresholds_are_the_exponential_of_what_was_learned():
    network = trained(3)
    lif = next(layer.operation for layer in strip(network).layers if layer.operation.kind == "lif")
    assert isinstance(lif, LIF)
    learned = network.blocks[0].neuron.ln_vth.detach().numpy()
    np.testing.assert_array_equal(lif.threshold, np.exp(learned.astype(np.float64)))


def test_the_parallel_method_leaves_no_trace_in_the_program():
    network = trained(1)
    before = strip(network).sha256
    network.set_parallel("scan")
    assert strip(network).sha256 == before


def test_names_sort_in_order_of_execution_however_deep():
    gelu = {"model": "pspikessm", "reset": "none", "ssm_activation": "gelu", "norm": "layer"}
    for program in (strip(trained(0, layers=20, mix="glu")), strip(trained(0, layers=14, **gelu))):
        names = [layer.name for layer in program.layers]
        assert len(names) > 100
        assert names == sorted(names)


def test_fixed_thresholds_are_1_and_have_no_gradient():
    network = trained(2, learn_threshold=False)
    assert not any("ln_vth" in name for name, _ in network.named_parameters())
    thresholds = [layer.operation.threshold for layer in strip(network).layers if layer.operation.kind == "lif"]
    np.testing.assert_array_equal(thresholds, np.ones((2, 9)))


def test_tied_dropout_leaves_out_whole_channels_of_the_mix_and_of_the_spikes():
    torch.manual_seed(0)
    block = trained(0, dropout=0.5, tie_dropout=True, drop_spikes=True, norm="none").blocks[0].train()
    seen = []
    block.mix.weight.data.copy_(torch.eye(9))
    block.mix.bias.data.fill_(1.0)
    x = torch.randn(8, 9, 30)
    with torch.no_grad():
        y, (fired,) = block(x)
    for row, spikes in zip((y - x).flatten(0, 1), fired.flatten(0, 1), strict=True):
        # dropped, mixed without its spikes, or both kept: each scaled by 1/(1 - 0.5) once for every mask
        kinds = [torch.zeros(30), torch.full((30,), 2.0), 2 + 4 * spikes]
        seen.append(next(kind for kind, value in enumerate(kinds) if torch.allclose(row, value, atol=1e-5)))
    assert min(seen.count(kind) for kind in range(3)) > 5


def test_bidirectional_kernels_are_refused_by_name():
    config = dataclasses.asdict(trained(0).config) | {"bidirectional": True}
    with pytest.raises(BadInput, match="bidirectional"):
        Config.parse(config)
