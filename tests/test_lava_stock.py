"""``--processes stock``: float programs by processes that lava-nc ships, against the oracle; or refused by reason."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import commands
import numpy as np
import pytest

from convert.formats.nir.writing import write
from simulators import backends
from simulators.backends.lava import LavaBackend
from simulators.backends.numpy import NumpyBackend
from simulators.conformance import integers
from simulators.run import command
from spikestrip import trace
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import (
    GLU,
    LIF,
    S4D,
    Affine,
    AvgPool2d,
    Conv2d,
    Delay,
    FixedLIF,
    Flatten,
    Join,
    LeakyIntegrator,
    Operation,
    Pad,
    RefractoryLIF,
    Reshape,
    Scale,
    SumPool2d,
    Threshold,
)
from spikestrip.program import INPUT, Layer, Program, chain

if not any(distribution.name == "lava-nc" for distribution in distributions()):
    pytest.skip("needs lava-nc", allow_module_level=True)


def ignore(steps: int) -> None:
    pass


def drawn(rng: np.random.Generator, name: str) -> list[Layer]:
    """A small network of ``hidden`` neurons whose every sum is exact, in any order, on 8 steps of quarters."""
    hidden = int(rng.integers(2, 5))

    def halves(*shape: int, most: int = 2) -> np.ndarray:
        return rng.integers(-most, most + 1, shape) / 2

    def affine(entering: int) -> Affine:
        bias = halves(hidden).astype(np.float32) if rng.random() < 0.5 else None
        return Affine(halves(hidden, entering).astype(np.float32), bias)

    def neuron() -> Operation:
        threshold = np.full(hidden, rng.integers(1, 5) / 4)
        comparison = "ge" if rng.random() < 0.5 else "gt"
        if rng.random() < 0.2:
            return Threshold(threshold, comparison)
        gain, bias = (halves(hidden) if rng.random() < 0.3 else None for _ in range(2))
        return LIF(np.full(hidden, rng.integers(0, 5) / 4), threshold, None, gain, bias, comparison=comparison)

    def ssm() -> Operation:
        kind = rng.integers(3)
        if kind == 0:
            return Delay.of(rng.integers(0, 4, hidden))
        if kind == 1:
            return LeakyIntegrator(rng.integers(0, 3, hidden) / 2, halves(hidden), halves(hidden))
        modes = [halves(2, hidden, most=1) for _ in range(6)]
        return S4D(*modes, halves(hidden).astype(np.float32))

    layers = [
        Layer("n0", affine(2), (INPUT,)),
        Layer("n1", ssm(), ("n0",)),
        Layer("n2", neuron(), ("n1",), ("n3",) if rng.random() < 0.5 else ()),
        Layer("n3", affine(hidden), ("n2",), ("n5",) if rng.random() < 0.3 else ()),
        Layer("n4", Join(), ("n3", "n0") if rng.random() < 0.5 else ("n2", "n3")),
        Layer("n5", neuron(), ("n4",), ("n5",) if rng.random() < 0.3 else ()),
        Layer("n6", Scale(halves(hidden).astype(np.float32)), ("n5",), (INPUT,) if hidden == 2 else ()),
        Layer("n7", affine(hidden), ("n6",)),
    ]

    def own(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one if one == INPUT else f"{name}_{one}" for one in names)

    return [Layer(*own((layer.name,)), layer.operation, own(layer.inputs), own(layer.delayed)) for layer in layers]


def images(rng: np.random.Generator) -> list[Layer]:
    """Convolution, pools, padding and shapes, from the two numbers of the common input."""
    kernel = rng.integers(-2, 3, (2, 1, 3, 3)).astype(np.float32)
    operations: list[Operation] = [
        Affine(rng.integers(-2, 3, (16, 2)).astype(np.float32)),
        Reshape.to((1, 4, 4)),
        Pad(1, 1, 0),
        Conv2d(kernel, np.array([0.5, 0], np.float32), pad_left=1, pad_right=1),
        LIF(np.full((2, 3, 4), 0.5), np.full((2, 3, 4), 1.0)),
        Pad(1, 0, 1),
        SumPool2d(2, 2, 2, 2),
        AvgPool2d(2, 2, 2, 2),
        Flatten(),
        Threshold(np.full(2, 0.5)),
    ]
    names = [INPUT, *(f"c{number}" for number in range(len(operations)))]
    return [
        Layer(name, operation, (source,))
        for name, operation, source in zip(names[1:], operations, names[:-1], strict=True)
    ]


def test_drawn_programs_are_the_oracle() -> None:
    """Five networks that share an input, in one run: every spike, and the output."""
    rng = np.random.default_rng(20)
    layers = [layer for number in range(5) for layer in drawn(rng, f"p{number}")] + images(rng)
    program = Program((2,), tuple(layers), "p4_n7")
    x = rng.integers(-4, 5, (3, 8, 2)) / 4
    backend = LavaBackend(processes="stock")
    backends.check(backend, program, "float64", "cpu")
    seen = backend.run(program, x, "float64", "cpu", ignore)
    oracle = NumpyBackend().run(program, x, "float64", "cpu", ignore)
    assert seen.attrs["processes"] == "stock"
    np.testing.assert_array_equal(seen.output, oracle.output)
    assert list(seen.spikes) == list(oracle.spikes)
    for name, spikes in oracle.spikes.items():
        np.testing.assert_array_equal(seen.spikes[name], spikes, name)
    assert 0.1 < np.mean([spikes.mean() for spikes in oracle.spikes.values()]) < 0.9
    assert sum(0 < spikes.mean() < 1 for spikes in oracle.spikes.values()) >= 8


def test_the_delays_of_stock_processes_and_the_last_potentials() -> None:
    """Written out: two synapses and an S4D are four steps late; a decay of 1/4, a threshold of 1, hard reset."""
    ssm = S4D(*(np.full((1, 1), value) for value in (0.5, 0.0, 1.0, 0.0, 0.5, 0.0)), np.zeros(1, np.float32))
    program = chain(
        (1,),
        [
            ("a", Affine(np.float32([[2]]))),
            ("b", ssm),
            ("c", Affine(np.float32([[1]]))),
            ("d", LIF(np.full(1, 0.25), np.ones(1))),
        ],
    )
    x = np.random.default_rng(3).integers(-2, 4, (9, 12, 1)) / 4
    seen = LavaBackend(processes="stock").run(program, x, "float64", "cpu", ignore)
    assert seen.attrs["delay"] == 4
    spikes, last = np.zeros(x.shape, np.uint8), np.zeros((9, 1))
    for sample in range(9):
        state = potential = 0.0
        for t in range(12):
            state = 0.5 * state + 2 * x[sample, t, 0]
            potential = 0.25 * potential + state
            spikes[sample, t], potential = potential >= 1, 0 if potential >= 1 else potential
        last[sample] = potential
    np.testing.assert_array_equal(seen.spikes["d"], spikes)
    np.testing.assert_array_equal(seen.states["d"]["u"], last)
    assert 0 < spikes.mean() < 1


def lif(decay: object = 0.5, threshold: object = 1.0, **changed: object) -> Program:
    def two(value: object) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), 2).copy()

    return chain((2,), [("n", LIF(two(decay), two(threshold), **changed))])


halves = np.full(2, 0.5)


@pytest.mark.parametrize(
    ("program", "dtype", "reason"),
    [
        (lif(reset_kind="soft"), "float64", r"layer n \(lif\): resets by subtraction"),
        (lif(v_reset=np.array([0, 0.1])), "float64", "resets to another value than 0"),
        (lif(decay=[0.5, 0.25]), "float64", "has 2 decays, and a stock LIF one"),
        (lif(decay=0.3), "float64", r"has the decay 0\.3, and a stock LIF has 1 - dv"),
        (lif(threshold=[1, 2]), "float64", "has 2 thresholds"),
        (lif(threshold=0), "float64", "fires at rest"),
        (lif(), "float32", "is float64 in stock Lava's floating point"),
        (chain((2,), [("n", RefractoryLIF(*[halves] * 4))]), "float64", r"\(lif_refractory\): has no process"),
        (chain((2,), [("n", GLU())]), "float64", "no process"),
        (
            Program((2,), (Layer("a", Affine(np.eye(2, dtype=np.float32)), (INPUT,), ("b",)),
                           Layer("b", Affine(np.eye(2, dtype=np.float32)), ("a",))), "b"),
            "float64",
            r"can't hold the program: layer [ab] stands in a cycle with more stock synapses",
        ),
        (chain((2,), [("n", FixedLIF(0, 9))]), "float64", "can't hold the program: it doesn't begin with fixed_input"),
    ],
)  # fmt: skip
def test_what_stock_lava_can_not_hold(program: Program, dtype: backends.Dtype, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        backends.check(LavaBackend(processes="stock"), program, dtype, "cpu")
    backends.check(LavaBackend(), program, "float64", "cpu")


def test_an_overflow_is_bad_input() -> None:
    program = chain((1,), [("a_grows", LeakyIntegrator(np.array([1e200])))])
    with pytest.raises(BadInput, match="the run overflowed"):
        LavaBackend(processes="stock").run(program, np.ones((1, 4, 1)), "float64", "cpu", ignore)


def test_the_command(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(2, 20, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for name, threshold in (("held", 1.0), ("refused", [1.0, 2.0])):
        neuron = lif(threshold=threshold)["n"].operation
        program = chain((3,), [("a", Affine(np.ones((2, 3), np.float32))), ("n", neuron)])
        write(program, tmp_path / f"{name}.nir")
    options = ("--input", tmp_path / "x.npy", "-o", tmp_path / "t.h5", "--processes", "stock")
    done = commands.run(command, tmp_path / "refused.nir", "--backend", "lava", *options)
    assert done.code == 2
    assert "layer n (lif): has 2 thresholds" in done.stderr
    done = commands.run(command, tmp_path / "held.nir", "--backend", "numpy", *options)
    assert done.code == 2
    assert "backend numpy: has no option processes" in done.stderr
    assert not (tmp_path / "t.h5").exists()
    done = commands.run(command, tmp_path / "held.nir", "--backend", "lava", *options)
    assert done.code == 0, done.stderr
    stock = trace.read(tmp_path / "t.h5")
    assert stock.attrs["processes"] == "stock"
    assert stock.attrs["delay"] == 1


def test_a_program_of_integers_is_held() -> None:
    rng = np.random.default_rng(6)
    program = integers.network(rng)
    backends.check(LavaBackend(processes="stock"), program, "float64", "cpu")
