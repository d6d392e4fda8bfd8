"""Random programs to try a backend on, from a numpy Generator; inputs for them come from ``gaussian`` and ``grid``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from spikestrip.operations import (
    GLU,
    LIF,
    S4D,
    Affine,
    Join,
    LayerNorm,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
)
from spikestrip.program import INPUT, Layer, Program, Readout

Neuron = Literal["hard", "soft", "refractory"]
Mix = Literal["linear", "glu"]
Norm = Literal["layer"] | None


def network(
    rng: np.random.Generator,
    *,
    inputs: int = 3,
    hidden: int = 8,
    modes: int = 4,
    blocks: int = 2,
    neuron: Neuron = "hard",
    mix: Mix = "linear",
    norm: Norm = None,
    classes: int = 5,
    readout: Readout = "mean",
) -> Program:
    """A network as the papers build it, at random, whose neurons fire at 1 to 60% on N(0, 1) input."""

    def mixing() -> Affine:  # spikes of rate 0.2 in, unit variance out
        outputs = hidden * (2 if mix == "glu" else 1)
        return affine(rng, hidden, outputs, 1 / np.sqrt(0.2 * hidden))

    def spike() -> Operation:
        decay = rng.uniform(0.05, 0.9, hidden)
        threshold = rng.uniform(0.5, 1.5, hidden)
        if neuron == "refractory":
            return RefractoryLIF(decay, threshold, rng.uniform(0.3, 0.95, hidden), rng.uniform(0.0, 1.0, hidden))
        return LIF(decay, threshold, reset_kind=neuron)

    return _assemble(
        inputs,
        affine(rng, inputs, hidden, 1 / np.sqrt(inputs)),
        [(s4d(rng, hidden, modes), spike(), mixing()) for _ in range(blocks)],
        affine(rng, hidden, classes, 1 / np.sqrt(hidden)),
        mix,
        lambda: layer_norm(rng, hidden) if norm == "layer" else None,
        readout,
    )


def dyadic(
    rng: np.random.Generator,
    *,
    inputs: int = 2,
    hidden: int = 6,
    modes: int = 2,
    blocks: int = 2,
    neuron: Neuron = "hard",
    classes: int = 3,
    readout: Readout = "mean",
) -> Program:
    """A network whose arithmetic is exact in float32 on ``grid`` input of at most 6 steps, and that often ties.

    All its numbers are small multiples of powers of two, so every backend, in every order of summation, must give
    the same bits; potentials often equal the threshold.
    """

    def choice(values: tuple[float, ...], *shape: int) -> np.ndarray:
        return rng.choice(np.array(values), size=shape)

    def weights(outputs: int, columns: int) -> Affine:
        matrix = choice((-1.0, -0.5, 0.0, 0.5, 1.0), outputs, columns).astype(np.float32)
        return Affine(matrix, choice((-0.5, 0.0, 0.5), outputs).astype(np.float32))

    def ssm() -> S4D:
        a_re, a_im = (choice((-0.5, 0.0, 0.5), modes, hidden) for _ in range(2))
        b_re, b_im, c_re, c_im = (choice((-0.5, 0.0, 0.5, 1.0), modes, hidden) for _ in range(4))
        d = choice((0.0, 0.5, 1.0), hidden).astype(np.float32)
        return S4D(a_re, a_im, b_re, b_im, c_re, c_im, d)

    def spike() -> Operation:
        decay, threshold = choice((0.0, 0.5), hidden), choice((0.5, 1.0), hidden)
        if neuron == "refractory":
            return RefractoryLIF(decay, threshold, choice((0.0, 0.5), hidden), choice((0.0, 0.5), hidden))
        return LIF(decay, threshold, reset_kind=neuron)

    return _assemble(
        inputs,
        weights(hidden, inputs),
        [(ssm(), spike(), weights(hidden, hidden)) for _ in range(blocks)],
        weights(classes, hidden),
        "linear",
        lambda: None,
        readout,
    )


def recurrent(rng: np.random.Generator, *, inputs: int = 3, hidden: int = 6, outputs: int = 2) -> Program:
    """What only foreign graphs hold: delayed edges, gain, bias, v_reset, ">", a scale, two streams that add."""
    lif = LIF(
        decay=rng.uniform(0.2, 0.9, hidden),
        threshold=rng.uniform(0.3, 1.0, hidden),
        v_reset=rng.uniform(-0.2, 0.1, hidden),
        gain=rng.uniform(0.5, 1.5, hidden),
        bias=rng.uniform(-0.1, 0.2, hidden),
        comparison="gt",
    )
    li = LeakyIntegrator(rng.uniform(0.5, 0.99, outputs), rng.uniform(0.5, 1.5, outputs), rng.normal(0, 0.1, outputs))
    return Program(
        (inputs,),
        (
            Layer("n00_in", affine(rng, inputs, hidden, 0.7), (INPUT,)),
            Layer("n01_spike", lif, ("n00_in",), ("n02_feedback", "n03_scale")),
            Layer("n02_feedback", affine(rng, hidden, hidden, 0.6), ("n01_spike",)),
            Layer("n03_scale", Scale(rng.normal(0, 0.3, hidden).astype(np.float32)), ("n01_spike",)),
            Layer("n04_out", affine(rng, hidden, outputs, 0.8), ("n01_spike", "n03_scale")),
            Layer("n05_readout", li, ("n04_out",)),
        ),
        "n05_readout",
    )


def s4d(rng: np.random.Generator, hidden: int, modes: int) -> S4D:
    """S4D-Lin, discretised by zero-order hold, with unit variance at the output for white noise at the input."""
    a = (-0.5 + 1j * np.pi * np.arange(modes))[:, None]
    step = np.exp(rng.uniform(np.log(0.02), np.log(0.5), hidden))
    a_bar = np.exp(step * a)
    b_bar = (a_bar - 1) / a
    c = rng.normal(size=(modes, hidden)) + 1j * rng.normal(size=(modes, hidden))
    kernel = 2 * np.real(np.einsum("nh,nhk->hk", c * b_bar, a_bar[..., None] ** np.arange(256)))
    c = c / np.sqrt((kernel**2).sum(axis=1))
    d = rng.normal(0, 0.3, hidden).astype(np.float32)
    return S4D(a_bar.real, a_bar.imag, b_bar.real, b_bar.imag, c.real, c.imag, d)


def affine(rng: np.random.Generator, inputs: int, outputs: int, deviation: float) -> Affine:
    """Normal weights of the given deviation, and a small bias."""
    weight = rng.normal(0, deviation, (outputs, inputs)).astype(np.float32)
    return Affine(weight, rng.normal(0, 0.1, outputs).astype(np.float32))


def layer_norm(rng: np.random.Generator, hidden: int) -> LayerNorm:
    """LayerNorm with weights about 1."""
    return LayerNorm(
        rng.uniform(0.8, 1.2, hidden).astype(np.float32), rng.normal(0, 0.1, hidden).astype(np.float32), 1e-5
    )


def gaussian(rng: np.random.Generator, program: Program, batch: int, steps: int) -> np.ndarray:
    """N(0, 1) input (B, T, *input_shape), float32."""
    return rng.normal(size=(batch, steps, *program.input_shape)).astype(np.float32)


def grid(rng: np.random.Generator, program: Program, batch: int, steps: int = 6) -> np.ndarray:
    """Input for ``dyadic`` networks: halves from -2 to 2, float32."""
    return (rng.integers(-4, 5, (batch, steps, *program.input_shape)) / 2).astype(np.float32)


def _assemble(
    inputs: int,
    encoder: Affine,
    blocks: list[tuple[S4D, Operation, Affine]],
    head: Affine,
    mix: Mix,
    norm: Any,
    readout: Readout,
) -> Program:
    layers: list[Layer] = []

    def add(name: str, operation: Operation, *sources: str) -> str:
        layers.append(Layer(f"n{len(layers):02d}_{name}", operation, sources))
        return layers[-1].name

    stream = add("encoder", encoder, INPUT)
    for index, (ssm, neuron, mixing) in enumerate(blocks):
        inner = add(f"block{index}_ssm", ssm, stream)
        inner = add(f"block{index}_spike", neuron, inner)
        inner = add(f"block{index}_mix", mixing, inner)
        if mix == "glu":
            inner = add(f"block{index}_glu", GLU(), inner)
        stream = add(f"block{index}_join", Join(), inner, stream)
        normed = norm()
        if normed is not None:
            stream = add(f"block{index}_norm", normed, stream)
    stream = add("head", head, stream)
    if readout == "mean":
        stream = add("readout", LeakyIntegrator(np.ones(head.weight.shape[0])), stream)
    return Program((inputs,), tuple(layers), stream, readout)
