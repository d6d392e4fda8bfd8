"""A clamped replay over many steps at once against the stepper, bit by bit; and the bounds that run beside it."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.verification.bounds import Arithmetic, Running
from deploy.verification.replay import deciding
from simulators import clamped
from simulators.clamped import Clamped, Piece
from simulators.conformance import networks, suite
from spikestrip.execution import Stepper
from spikestrip.program import Program, at_sample

CASES = {case.name: case for case in suite.cases() if "overflow" not in case.name}


def recorded(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    """What nobody's neuron would send: (T, B, *shape), time first."""
    rng = np.random.default_rng(0)
    decide = deciding(program, {layer.name for layer in program.counting})
    sizes = {name: (x.shape[1], len(x), *program.shapes[name]) for name in decide}
    return {name: (rng.random(size) < 0.3).astype(np.uint8) for name, size in sizes.items()}


def pieces(program: Program, x: np.ndarray, sent: dict[str, np.ndarray], dtype: type, steps: int) -> list[Piece]:
    run = Clamped(program, len(x), sent, dtype)
    size = min(run.steps, steps)
    starts = range(0, x.shape[1], size)
    given = x.swapaxes(0, 1)
    return [run.run(given[t : t + size], {n: s[t : t + size] for n, s in sent.items()}) for t in starts]


def against_stepping(program: Program, x: np.ndarray, dtype: type, steps: int) -> None:
    sent = recorded(program, x)
    stepper = Stepper(program, len(x), np, lambda array: array.astype(dtype))
    given, t = np.ascontiguousarray(x.swapaxes(0, 1), dtype), 0
    for piece in pieces(program, x, sent, dtype, steps):
        for i in range(len(piece.streams[program.output])):
            streams = stepper.step(given[t], {name: train[t].astype(dtype) for name, train in sent.items()})
            for name, found in piece.found.items():
                for variable, values in found.items():
                    np.testing.assert_array_equal(values[i], stepper.started[name][variable])
            for name in program.shapes:
                np.testing.assert_array_equal(piece.streams[name][i], streams[name])
            for name, potential in piece.potentials.items():
                np.testing.assert_array_equal(potential[i], stepper.potentials[name])
            t += 1
        for name, state in stepper.state.items():
            for variable, value in state.items():
                np.testing.assert_array_equal(piece.ended[name][variable], value)
    assert t == x.shape[1]


@pytest.fixture(params=["compiled", "stepped"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "stepped":  # as where numba isn't installed
        monkeypatch.setattr(clamped, "find_spec", lambda name: None)


@pytest.mark.parametrize("name", CASES)
def test_every_operation(name: str) -> None:
    case = CASES[name]
    against_stepping(case.program, case.input, np.dtype(case.dtype).type, 5)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    neuron, mix = ("hard", "soft", "refractory")[seed % 3], ("linear", "glu")[seed % 2]
    program = networks.network(
        rng, hidden=int(rng.integers(1, 30)), modes=int(rng.integers(1, 9)), neuron=neuron, mix=mix, blocks=2
    )
    against_stepping(at_sample(program, 3), networks.gaussian(rng, program, int(rng.integers(1, 9)), 30), dtype, 7)


@pytest.mark.parametrize("arithmetic", [Arithmetic("float32", 2.0**-24, False), Arithmetic("float32", 2.0**-24, True)])
@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.dtype == "float64" and not name.startswith("fixed")]
)
def test_bounds_are_those_of_single_steps(name: str, arithmetic: Arithmetic, monkeypatch) -> None:
    """One loop over a piece of many steps, or rules that see one step after another."""
    program, x = CASES[name].program, CASES[name].input
    sent = recorded(program, x)
    norms = {layer.name: np.ones((len(x), *program.entering_shape(layer))) for layer in program.layers}
    found = []
    for steps, engine in ((x.shape[1], "numba"), (3, "numba"), (1, None)):
        monkeypatch.setattr(clamped, "find_spec", lambda name, engine=engine: engine)
        running = Running(program, arithmetic, x.shape[1], norms if arithmetic.parallel else None)
        parts = [running.over(piece) for piece in pieces(program, x, sent, np.float64, steps)]
        found.append({layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]})
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for layer, bound in other.items():
            np.testing.assert_allclose(bound, found[0][layer], rtol=1e-9)
