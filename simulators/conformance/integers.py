"""Cases of the operations on integers: negative exponents, mixed signs, wrap and clip; float64 alone holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulators.backends import Dtype
from simulators.conformance.case import Case
from spikestrip.operations import (
    Affine,
    Conv2d,
    FixedAffine,
    FixedCurrent,
    FixedIF,
    FixedInput,
    FixedLIF,
    FixedModes,
    FixedProgrammedLIF,
    FixedReadout,
    FixedRefractoryLIF,
    FixedS4D,
    FixedScale,
    Flatten,
    Join,
    MultiSpikeIF,
    Operation,
    Scale,
    SumPool2d,
)
from spikestrip.program import INPUT, Layer, Program, chain


def integers(dtype: Dtype) -> Iterator[Case]:
    """Each operation alone, and a network of all that stock Lava has a process for."""
    if dtype != "float64":
        return
    rng = np.random.default_rng(37)

    def whole(most: int, *shape: int) -> np.ndarray:
        return rng.integers(-most, most + 1, shape).astype(np.float64)

    drawn: list[tuple[str, str, Operation, np.ndarray]] = [
        ("fixed_input", "halves_and_clip", FixedInput(3, 6), rng.integers(-90, 90, (3, 9, 4)) / 16),
        ("fixed_affine", "words", affine(rng, 6, 5), whole(1000, 3, 7, 6)),
        ("fixed_scale", "words", FixedScale(words(rng, 2, 5), np.array([1, -4], np.int8)), whole(1000, 3, 7, 5)),
        ("fixed_s4d", "4_modes", s4d(rng, 5, 4), whole(1000, 3, 40, 5)),
        ("fixed_current", "wrap", FixedCurrent(300), whole(1 << 17, 3, 60, 4)),
        ("fixed_lif", "clip", FixedLIF(7, 4000, rng.integers(-4096, 4096, 6), -2), whole(1 << 16, 3, 60, 6)),
        ("fixed_readout", "noise", FixedReadout(), whole(1000, 3, 30, 4)),
        ("fixed_s4d_modes", "4_modes", modes(rng, 5, 4), whole(1 << 16, 3, 40, 5)),
        ("fixed_lif_programmed", "soft", FixedProgrammedLIF(*membrane(rng, 6), soft=True), whole(9000, 3, 60, 6)),
        ("fixed_lif_programmed", "hard", FixedProgrammedLIF(*membrane(rng, 6), soft=False), whole(9000, 3, 60, 6)),
        ("fixed_lif_refractory", "clip", refractory(rng, 6), whole(1 << 15, 3, 60, 6)),
    ]
    for name, situation, operation, x in drawn:
        yield Case(name, situation, dtype, chain(x.shape[2:], [(f"n00_{name}", operation)]), x)
    yield Case("network_fixed", "noise", dtype, network(rng), rng.random((3, 60, 2)))
    for soft, situation in ((True, "subtracts_and_clips"), (False, "resets_and_clips")):
        neuron = chain((5,), [("n00_fixed_if", FixedIF(9000, soft))])
        yield Case("fixed_if", situation, dtype, neuron, whole(1 << 15, 3, 60, 5))
    yield Case("network_speck", "events", dtype, cores(rng), rng.integers(0, 9, (3, 40, 1, 8, 8)).astype(np.float64))


def words(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Even integers of mixed signs, as a word holds them."""
    return (2 * rng.integers(-127, 128, shape)).astype(np.int16)


def affine(rng: np.random.Generator, entering: int, leaving: int, exponent: int = -3) -> FixedAffine:
    bias = rng.integers(-40, 41, leaving).astype(np.int32)
    return FixedAffine(words(rng, 2, entering, leaving), np.array([exponent, exponent - 6], np.int8), bias)


def s4d(rng: np.random.Generator, channels: int, modes: int) -> FixedS4D:
    """A decays by between a thirty-second and three quarters, and turns by less than that."""
    shape = (2, modes, channels)
    a_re, a_im = -2 * rng.integers(2, 48, shape), 2 * rng.integers(-15, 16, shape)
    a_im[0] = np.clip(a_im[0], a_re[0] // 4 * 2, -(a_re[0] // 4 * 2))
    two = np.array([-7, -14], np.int8)
    return FixedS4D(
        a_re.astype(np.int16), a_im.astype(np.int16), two, words(rng, *shape), words(rng, *shape), two + 2,
        words(rng, *shape), words(rng, *shape), words(rng, 2, channels), two - 6, 2,
    )  # fmt: skip


def modes(rng: np.random.Generator, channels: int, count: int) -> FixedModes:
    """A decays by between a hundredth and a half, and turns by up to a fifth of a circle."""
    shape = (count, channels)
    a = np.rint((1 << 15) * rng.uniform(0.5, 0.99, shape) * np.exp(1j * rng.uniform(-1.2, 1.2, shape)))
    c_re, c_im, d = (rng.integers(-32767, 32768, each).astype(np.int16) for each in (shape, shape, channels))
    b = (1 << rng.integers(0, 15, shape)).astype(np.int16)
    return FixedModes(a.real.astype(np.int16), a.imag.astype(np.int16), b, c_re, c_im, d, -12, -17, -15)


def membrane(rng: np.random.Generator, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """dv and vth of neurons that differ."""
    return rng.integers(0, 4096, neurons).astype(np.int16), rng.integers(2000, 9000, neurons).astype(np.int32)


def refractory(rng: np.random.Generator, neurons: int) -> FixedRefractoryLIF:
    """Inhibition so strong that it and the membrane reach their rails now and then."""
    dr, inhibition = rng.integers(0, 900, neurons).astype(np.int16), rng.integers(0, 1 << 17, neurons).astype(np.int32)
    return FixedRefractoryLIF(*membrane(rng, neurons), True, dr, inhibition)


def network(rng: np.random.Generator) -> Program:
    """An entry, an encoder, an SSM with its neurons, a mix with a skip around it, a head and its readout."""
    layers = (
        Layer("a_integers", FixedInput(10, 16), (INPUT,)),
        Layer("n00_encoder", affine(rng, 2, 6, -8), ("a_integers",)),
        Layer("n01_ssm", s4d(rng, 6, 3), ("n00_encoder",)),
        Layer("n02_spike", FixedLIF(3584, 90), ("n01_ssm",)),
        Layer("n03_mix", affine(rng, 6, 6), ("n02_spike",)),
        Layer("n04_skip", FixedScale(words(rng, 1, 6), np.array([-7], np.int8)), ("n00_encoder",)),
        Layer("n05_join", Join(), ("n03_mix", "n04_skip")),
        Layer("n06_head", affine(rng, 6, 4), ("n05_join",)),
        Layer("n07_readout", FixedReadout(), ("n06_head",)),
        Layer("z_reals", Scale(np.full(4, 2.0**-6)), ("n07_readout",)),
    )
    return Program((2,), layers, "z_reals", "mean")


def cores(rng: np.random.Generator) -> Program:
    """Three cores of a Speck: single spikes that subtract (and clip), several, single spikes that reset."""

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-128, 128, shape).astype(np.float32)

    several = MultiSpikeIF(np.full((3, 4, 4), 300.0), np.full((3, 4, 4), -300.0))
    return chain(
        (1, 8, 8),
        [
            ("n00_conv", Conv2d(weights(2, 1, 3, 3), pad_top=1, pad_bottom=1, pad_left=1, pad_right=1)),
            ("n01_spike", FixedIF(700)),
            ("n02_pool", SumPool2d(2, 2, 2, 2)),
            ("n03_conv", Conv2d(weights(3, 2, 1, 1))),
            ("n04_several", several),
            ("n05_flatten", Flatten()),
            ("n06_head", Affine(weights(4, 48))),
            ("n07_spike", FixedIF(900, soft=False)),
        ],
    )
