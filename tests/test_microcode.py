"""Programmable neurons in integers: arithmetic, counted events, and what the mapping costs in spikes."""

from __future__ import annotations

import dataclasses
from importlib.metadata import distributions
from pathlib import Path

import commands
import numpy as np
import pytest
from programs import network

from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from convert.lowering.loihi2_microcode import microcode
from deploy.quantize import command
from deploy.verify import verify
from simulators import backends
from simulators.conformance import integers
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.operations import LIF, S4D, FixedModes, FixedProgrammedLIF, FixedRefractoryLIF
from spikestrip.program import Program, chain

LAVA = any(distribution.name == "lava-nc" for distribution in distributions())
RAIL = 2**23 - 1


def float_network(neuron: str) -> Program:
    """Two blocks whose neurons have a decay and a threshold each."""
    rng = np.random.default_rng(3)
    return network(rng, inputs=2, hidden=8, modes=4, blocks=2, classes=3, neuron=neuron)  # type: ignore[arg-type]


def noise(samples: int = 3, steps: int = 120) -> np.ndarray:
    return np.random.default_rng(8).normal(size=(samples, steps, 2)).astype(np.float32)


def leaked(value: int, decay: int) -> int:
    """value*(4096 - decay)/4096, toward zero."""
    product = value * (4096 - decay)
    return product // 4096 if product >= 0 else -(-product // 4096)


@pytest.mark.parametrize("kind", ["soft", "hard", "refractory", "refractory, no reset"])
def test_neurons_in_python_integers(kind: str) -> None:
    rng = np.random.default_rng(2)
    dv, vth, dr, inhibition = [0, 300, 4095], [900, 5000, 131071], [1, 400, 4000], [131071, 700, 0]
    arrays = [np.array(each, np.int32) for each in (dv, vth, dr, inhibition)]
    soft = kind in ("soft", "refractory")
    op = FixedProgrammedLIF(*arrays[:2], soft)
    if kind.startswith("refractory"):
        op = FixedRefractoryLIF(*arrays[:2], soft, *arrays[2:])
    state = {name: np.zeros((1, 3)) for name in op.state_shapes((3,))}
    v, r, fired = [0] * 3, [0] * 3, 0
    for row in rng.integers(-9000, 22000, (400, 3)):
        state, spikes = op.step(np, state, row[None].astype(float))
        for n in range(3):
            v[n] = max(-RAIL, min(RAIL, leaked(v[n], dv[n]) + 64 * int(row[n]) - r[n]))
            s = v[n] > 64 * vth[n]
            fired += s
            if soft:
                v[n] -= 64 * vth[n] * s
            elif kind == "hard":
                v[n] *= not s
            if kind.startswith("refractory"):
                r[n] = min(RAIL, leaked(r[n], dr[n]) + 64 * inhibition[n] * s)
                assert state["r"][0, n] == r[n]
            assert spikes[0, n] == s
            assert state["v"][0, n] == v[n]
    assert 100 < fired < 1100


def test_modes_in_python_integers() -> None:
    """>> of Python is floor; what is rounded is floor((2 z + 1)/2)."""
    op = integers.modes(np.random.default_rng(5), 3, 4)
    state = {name: np.zeros((1, 4, 3)) for name in ("re", "im")}
    re, im = ([[0] * 3 for _ in range(4)] for _ in range(2))

    def rounded(value: int, exponent: int) -> int:
        return (value + (1 << -exponent - 1)) >> -exponent

    for row in np.random.default_rng(6).integers(-70000, 70000, (60, 3)):
        state, y = op.step(np, state, row[None].astype(float))
        for h in range(3):
            total = rounded(int(op.d[h]) * int(row[h]), op.d_exp)
            for n in range(4):
                a_re, a_im, p, q = int(op.a_re[n, h]), int(op.a_im[n, h]), re[n][h], im[n][h]
                re[n][h] = (a_re * p >> 15) - (a_im * q >> 15) + rounded(int(op.b[n, h]) * int(row[h]), op.b_exp)
                im[n][h] = (a_im * p >> 15) - (-a_re * q >> 15)
                total += rounded(int(op.c_re[n, h]) * re[n][h] + int(op.c_im[n, h]) * im[n][h], op.c_exp)
            assert y[0, h] == total
        np.testing.assert_array_equal(state["re"][0], re)
        np.testing.assert_array_equal(state["im"][0], im)


def test_what_leaves_its_width_is_counted() -> None:
    """At the last place that is held, and one beyond: activation, membrane, inhibition; state and message of a mode."""
    one = [np.array([value], np.int32) for value in (0, 131071, 0, 131071)]
    zero = {"v": np.zeros((1, 1)), "r": np.zeros((1, 1))}
    neuron = FixedRefractoryLIF(*one[:2], True, *one[2:])
    assert neuron.exceeded(zero, np.array([[32767.0]])) == [0]
    assert neuron.exceeded(zero, np.array([[32768.0]])) == [1]
    assert neuron.exceeded({**zero, "v": np.full((1, 1), 2.0**23 - 65)}, np.array([[1.0]])) == [0]
    assert neuron.exceeded({**zero, "v": np.full((1, 1), 2.0**23 - 64)}, np.array([[1.0]])) == [1]
    both = {"v": np.full((1, 1), 2.0**23 - 1), "r": np.full((1, 1), 64.0)}
    assert neuron.exceeded(both, np.array([[1.0]])) == [1]  # it fires, and what inhibits it grows to 2^23
    assert neuron.exceeded(both, np.array([[2.0]])) == [2]
    small = [np.array([[value]], np.int16) for value in (0, 0, 1, 1, 0)]
    mode = FixedModes(*small, np.array([0], np.int16), 0, 0, 0)
    held = {"re": np.zeros((1, 1, 1)), "im": np.zeros((1, 1, 1))}
    assert mode.exceeded(held, np.array([[2.0**23 - 1]])) == [0]
    assert mode.exceeded(held, np.array([[2.0**23]])) == [4]  # what enters, re, its message, and the sum


def test_parameters_that_no_neuron_holds() -> None:
    good = np.array([1], np.int32)
    with pytest.raises(BadInput, match=r"dv needs whole numbers from 0 to 4095"):
        FixedProgrammedLIF(np.array([4096], np.int32), good, True)
    with pytest.raises(BadInput, match=r"inhibition needs whole numbers from 0 to 131071"):
        FixedRefractoryLIF(good, good, True, good, -good)
    op = integers.modes(np.random.default_rng(5), 3, 4)
    with pytest.raises(BadInput, match=r"1 modes have \|A\| >= 1"):
        dataclasses.replace(op, a_re=np.where(np.arange(12).reshape(4, 3) == 5, 32767, 0).astype(np.int16),
                            a_im=np.full((4, 3), 256, np.int16))  # fmt: skip


@pytest.mark.parametrize("neuron", ["soft", "refractory", "hard"])
def test_every_backend_is_the_program(neuron: str, tmp_path: Path) -> None:
    """Through a file, in every spike, answer, and (Lava) last state; and next to float each difference has a cause."""
    program, x = float_network(neuron), noise()
    write(microcode(program, x).program, tmp_path / "m.q.nir")
    lowered = read(tmp_path / "m.q.nir")
    trace = simulate(lowered, x)
    stepper = Stepper(lowered, len(x))
    for t in range(x.shape[1]):
        stepper.step(x[:, t].astype(np.float64))
    for backend in ("torch", "onnxruntime", "raster"):
        other = simulate(lowered, x, backend)
        for name, spikes in trace.spikes.items():
            np.testing.assert_array_equal(other.spikes[name], spikes, f"{backend} {name}")
        np.testing.assert_array_equal(other.output, trace.output)
    if LAVA:
        seen = backends.load("lava").run(lowered, x.astype(np.float64), "float64", "cpu", lambda steps: None)
        for name, spikes in trace.spikes.items():
            np.testing.assert_array_equal(seen.spikes[name].reshape(spikes.shape), spikes, name)
        np.testing.assert_array_equal(lowered.finish(seen.output), trace.output)
        assert set(seen.states) == {layer for layer, state in stepper.state.items() if state}
        for layer, state in seen.states.items():
            for key, values in state.items():
                np.testing.assert_array_equal(values, stepper.state[layer][key], f"{layer} {key}")
    reference = simulate(program, x)
    assert all(0.05 < spikes.mean() < 0.9 for spikes in reference.spikes.values())
    verdict = verify(reference, trace, program, trace_program=lowered)
    assert verdict.passed
    assert set(verdict.causes) <= {"quantisation", "carried"}
    assert verdict.differ <= 0.01 * sum(np.count_nonzero(spikes) for spikes in reference.spikes.values())
    np.testing.assert_allclose(trace.output, reference.output, atol=0.01 * np.abs(reference.output).max())


def test_the_ssm_is_near_the_float_one() -> None:
    """Alone, against float64: within 0.2% of the largest y; modes of very different speeds, one of them idle."""
    rng = np.random.default_rng(4)
    decay, angle = np.array([[0.999, 0.2], [0.9, 0.99], [0.5, 0.7]]), np.array([[0.01, 2.0], [3.0, 0.2], [0.0, 1.0]])
    a, b, c = (decay * np.exp(1j * angle), *(rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2)) for _ in range(2)))
    b[1, 1] = 0
    ssm = S4D(a.real, a.imag, b.real, b.imag, c.real, c.imag, rng.normal(size=2))
    program = chain((2,), [("ssm", ssm)])
    x = noise(2, 500)
    lowered = microcode(program, x)
    made = lowered.program["ssm"].operation
    assert isinstance(made, FixedModes)
    ours, theirs = simulate(lowered.program, x).output, simulate(program, x, dtype="float64").output
    assert np.abs(ours - theirs).max() < 2e-3 * np.abs(theirs).max()
    assert any(choice.matrix == "A" for choice in lowered.choices)


def test_a_mode_that_rounding_would_let_grow() -> None:
    a = np.array([[1 - 1e-6]])
    ssm = S4D(a, a * 0, a, a * 0, a, a * 0, np.zeros(1))
    made = microcode(chain((1,), [("ssm", ssm)]), np.ones((1, 50, 1))).program["ssm"].operation
    assert isinstance(made, FixedModes)
    assert made.a_re == [[32767]]


def test_what_is_refused() -> None:
    program = float_network("hard")
    layers = [
        dataclasses.replace(layer, operation=dataclasses.replace(layer.operation, v_reset=np.full(8, 0.1)))
        if isinstance(layer.operation, LIF)
        else layer
        for layer in program.layers
    ]
    with pytest.raises(Refused, match=r"\(lif\): loihi2, microcode: resets to another value than 0"):
        microcode(dataclasses.replace(program, layers=tuple(layers)), noise(1, 5))
    glu = network(np.random.default_rng(1), inputs=2, mix="glu")
    with pytest.raises(Refused, match=r"\(glu\): loihi2, microcode: no programmable neuron"):
        microcode(glu, noise(1, 5))


def test_the_command(tmp_path: Path) -> None:
    program, x = float_network("refractory"), noise()
    model = tmp_path / "model.nir"
    write(program, model)
    np.save(tmp_path / "x.npy", x)
    options = ("--chip", "loihi2", "--map", "microcode", "--calibrate", tmp_path / "x.npy")
    done = commands.run(command, model, *options)
    assert done.code == 0, done.stderr
    assert read(tmp_path / "model.q.nir").sha256 == microcode(program, x).program.sha256
    refused = commands.run(command, model, *options, "--words-a", "3")
    assert refused.code == 2
    assert "not words" in refused.stderr
