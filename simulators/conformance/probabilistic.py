"""Cases of what P-SpikeSSM brings: drawn spikes, GELU and clamp, alone and in a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from simulators.backends import Dtype
from simulators.conformance import networks
from simulators.conformance.case import ROUNDING, Case
from spikestrip.draws import BITS, draw_sequence
from spikestrip.operations import GELU, Affine, Bernoulli, Clamp, Join, LeakyIntegrator, Operation
from spikestrip.program import INPUT, Layer, Program, chain


def probabilistic(dtype: Dtype) -> Iterator[Case]:
    """Every draw is an integer, and GELU is products, sums and a quotient: all of it asks for the same bits."""
    rng = np.random.default_rng(24)
    a, b = rng.uniform(0.5, 2, 5).astype(np.float32), rng.uniform(-0.3, 0.3, 5).astype(np.float32)
    neuron = Bernoulli(a, b, seed=2**62 + 7, layer=3)
    plain = dataclasses.replace(neuron, a=np.ones(5, np.float32), b=np.zeros(5, np.float32))
    single = dataclasses.replace(neuron, a=a[:1], b=b[:1])
    sure = dataclasses.replace(neuron, a=np.zeros(5, np.float32), b=np.array([0, 1, -1, 2, 0.5], np.float32))
    poisoned = rng.normal(size=(2, 9, 5))
    poisoned[1, 4, 2] = np.nan
    largest = np.full((2, 6, 5), np.finfo(dtype).max)
    drawn: list[tuple[str, str, Operation, np.ndarray]] = [
        ("bernoulli", "noise", neuron, rng.normal(size=(4, 101, 5))),
        ("bernoulli", "ties", plain, _at_the_draws(plain, 8, 31)),
        ("bernoulli", "never_and_always", sure, rng.normal(size=(2, 20, 5))),
        ("bernoulli", "one_step", neuron, rng.normal(size=(1, 1, 5))),
        ("bernoulli", "one_neuron", single, rng.normal(size=(3, 8, 1))),
        ("bernoulli", "large_batch", neuron, rng.normal(size=(64, 3, 5))),
        ("bernoulli", "later_samples", dataclasses.replace(neuron, first_sample=1000), rng.normal(size=(3, 9, 5))),
        ("bernoulli", "nan", neuron, poisoned),
        ("bernoulli", "overflow", dataclasses.replace(neuron, a=2 * np.ones(5, np.float32)), largest),
        ("gelu", "noise", GELU(), 3 * rng.normal(size=(2, 40, 6))),
        ("gelu", "tails", GELU(), np.linspace(-1, 1, 120).reshape(2, 10, 6) ** 5 * 1e6),
        ("clamp", "between", Clamp(-0.1, 0.9), rng.normal(size=(2, 20, 6))),
        ("clamp", "relu", Clamp(0.0), rng.normal(size=(2, 20, 6))),
    ]
    for name, situation, operation, x in drawn:
        program = chain(x.shape[2:], [(f"n00_{name}", operation)])
        yield Case(name, situation, dtype, program, x.astype(dtype), faulty=situation in ("nan", "overflow"))
    if dtype == "float64":  # in float32 a dot product's rounding can decide a spike
        program = _network(rng)
        yield Case("network_bernoulli", "noise", dtype, program, rng.normal(size=(3, 41, 3)), ROUNDING[dtype])


def _at_the_draws(operation: Bernoulli, batch: int, steps: int) -> np.ndarray:
    """Probabilities that equal the draws, where none fires, and some that are the least bit larger, where all do."""
    sample, neuron = np.arange(batch)[:, None], np.arange(operation.a.size)
    draws = draw_sequence(np, operation.seed, operation.layer, sample, neuron, steps).swapaxes(1, 2)
    draws[::2] += 1
    return draws * 2.0**-BITS


def _network(rng: np.random.Generator, hidden: int = 8) -> Program:
    """An encoder, a block of P-SpikeSSM, a readout."""

    def sampler(layer: int) -> Bernoulli:
        a, b = rng.uniform(0.5, 1, hidden), rng.uniform(0, 0.3, hidden)
        return Bernoulli(a.astype(np.float32), b.astype(np.float32), 11, layer)

    gain = rng.uniform(0.5, 1.5, hidden)
    layers = [
        Layer("n00_encoder", networks.affine(rng, 3, hidden, 0.6), (INPUT,)),
        Layer("n01_block0_sample", sampler(0), ("n00_encoder",)),
        Layer("n02_block0_ssm", networks.s4d(rng, hidden, 4), ("n01_block0_sample",)),
        Layer("n03_block0_spike", sampler(1), ("n02_block0_ssm",)),
        Layer("n04_block0_mix", networks.affine(rng, hidden, hidden, 0.8), ("n03_block0_spike",)),
        Layer("n05_block0_gelu", GELU(), ("n04_block0_mix",)),
        Layer("n06_block0_join", Join(), ("n00_encoder", "n05_block0_gelu")),
        Layer("n07_block0_norm", Affine(np.diag(gain), rng.normal(0, 0.1, hidden)), ("n06_block0_join",)),
        Layer("n08_block1_sample", sampler(2), ("n07_block0_norm",)),
        Layer("n09_head", networks.affine(rng, hidden, 4, 0.5), ("n08_block1_sample",)),
        Layer("n10_readout", LeakyIntegrator(np.ones(4)), ("n09_head",)),
    ]
    return Program((3,), tuple(layers), "n10_readout", "mean")
