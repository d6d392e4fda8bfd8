"""Every installed backend runs the conformance suite; and the suite catches what backends get wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from simulators import backends
from simulators.backends import Backend, Dtype, Progress, Recording
from simulators.backends.numpy import NumpyBackend
from simulators.conformance import Case, Failed, Passed, Refused, cases, oracle, run_case
from simulators.conformance.table import table
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper
from spikestrip.operations import OPERATIONS, SpikingOperation
from spikestrip.program import Layer, Program

SUITE = {case.name: case for case in cases()}

REFUSED = {
    "numpy": set(),
    "raster": set(),
    "torch": set(),
    "onnxruntime": set(),
    "lava": set(),
    "sinabs": {
        "lif_refractory",
        "lif_refractory_no_reset",
        "network_refractory",
        "lif_adaptive",
        "lif_bias",
        "lif_reset_value",
    }
    | {"recurrent_any", "bernoulli", "network_bernoulli", "fixed_lif", "network_fixed", "fixed_if", "network_speck"}
    | {"fixed_lif_programmed", "fixed_lif_refractory"},
    "speck": {case.operation for case in cases()} - {"network_speck"},
}
"""The operations that a backend may refuse. What it doesn't hold stands here, or a test fails."""

LAVA_BY_DEFAULT = {
    "lif_hard/ties/float64",
    "lif_soft/noise/float32",
    "s4d/3_modes/float64",
    "bernoulli/noise/float64",
    "network_hard/ties/float64",
    "network_fixed/noise/float64",
    "fixed_lif_refractory/clip/float64",
}
"""A run of Lava starts processes, which takes seconds: the whole suite runs under ``slow``."""


def loaded(name: str) -> Backend:
    try:
        return backends.load(name)
    except BadInput as error:
        pytest.skip(str(error))


def asked() -> list[object]:
    questions: list[object] = []
    for backend in REFUSED:
        for name in SUITE:
            slow = backend == "lava" and name not in LAVA_BY_DEFAULT
            questions.append(pytest.param(backend, name, marks=pytest.mark.slow if slow else ()))
    return questions


@pytest.mark.parametrize(("backend", "name"), asked())
def test_backend_conforms(backend: str, name: str) -> None:
    case = SUITE[name]
    result = run_case(loaded(backend), case)
    expected = Refused if case.operation in REFUSED[backend] else Passed
    assert isinstance(result, expected), result


def test_every_installed_backend_is_asked() -> None:
    assert set(backends.names()) <= set(REFUSED)


def test_every_operation_has_a_case() -> None:
    held = {layer.operation.kind for case in SUITE.values() for layer in case.program.layers}
    assert held == set(OPERATIONS)


def test_the_suite_is_the_same_every_time() -> None:
    for one, two in zip(cases(), cases(), strict=True):
        assert (one.name, one.program.sha256) == (two.name, two.program.sha256)
        np.testing.assert_array_equal(one.input, two.input)
    assert len(SUITE) == len(cases())


def test_spikes_of_inexact_cases_are_far_from_the_threshold() -> None:
    """Where sums are rounded in another way, only a margin makes the spikes the same."""
    for case in SUITE.values():
        if case.tolerance and case.program.spiking:
            stepper, spikes = Stepper(case.program, len(case.input)), oracle(case).spikes
            for t in range(case.input.shape[1]):
                stepper.step(case.input[:, t], {name: train[:, t].astype(float) for name, train in spikes.items()})
                for name, neuron in case.program.neurons.items():
                    margin = np.abs(neuron.excess(np, stepper.before[name], stepper.potentials[name]))
                    assert margin.min() > 1e-9, case.name


def test_ties_tie() -> None:
    for case in SUITE.values():
        if case.situation == "ties" and not case.operation.startswith("recurrent"):
            stepper, spikes, ties = Stepper(case.program, len(case.input)), oracle(case).spikes, 0
            for t in range(case.input.shape[1]):
                stepper.step(
                    case.input[:, t].astype(float), {name: train[:, t].astype(float) for name, train in spikes.items()}
                )
                for name, neuron in case.program.neurons.items():
                    ties += (neuron.excess(np, stepper.before[name], stepper.potentials[name]) == 0).sum()
            assert ties > 0, case.name


class Mutant(NumpyBackend):
    """The numpy backend with a fault: ``alter`` changes the program, the recording is changed by ``spoil``."""

    def __init__(
        self,
        alter: Callable[[SpikingOperation], dict[str, object]] = lambda neuron: {},
        spoil: Callable[[Recording], object] = lambda recording: None,
        single: bool = False,
    ) -> None:
        self.alter, self.spoil, self.single = alter, spoil, single

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        layers = []
        for layer in program.layers:
            operation = layer.operation
            if isinstance(operation, SpikingOperation):
                operation = _copy(operation, self.alter(operation))
            layers.append(Layer(layer.name, operation, layer.inputs, layer.delayed))
        altered = Program(program.input_shape, tuple(layers), program.output, program.readout)
        recording = super().run(altered, x, "float32" if self.single else dtype, device, progress)
        recording.output = recording.output.astype(dtype)
        self.spoil(recording)
        return recording


def _copy(operation: SpikingOperation, changes: dict[str, object]) -> SpikingOperation:
    copied = operation.bind(np.copy)
    for name, value in changes.items():
        if hasattr(copied, name):
            setattr(copied, name, value)
    return copied


def _late(recording: Recording) -> None:
    for train in recording.spikes.values():
        train[:] = np.roll(train, 1, axis=1)


def _flip(recording: Recording) -> None:
    for train in recording.spikes.values():
        train[-1, -1, -1] ^= 1


def _miscount(recording: Recording) -> None:
    recording.observed = {name: {"spikes": train.sum(axis=2) + 1} for name, train in recording.spikes.items()}


MUTANTS = {
    "fires only above the threshold": (Mutant(lambda neuron: {"comparison": "gt"}), "lif_hard/ties/float32"),
    "resets by subtraction": (Mutant(lambda neuron: {"reset_kind": "soft"}), "lif_hard/saturation/float64"),
    "resets to zero": (Mutant(lambda neuron: {"reset_kind": "hard"}), "lif_soft/ties/float64"),
    "forgets the soft reset": (Mutant(lambda neuron: {"soft": False}), "lif_refractory/noise/float64"),
    "computes in float32": (Mutant(single=True), "lif_hard/constants/float64"),
    "forgets a little too fast": (
        Mutant(lambda neuron: {"decay": np.nextafter(neuron.decay, 0)} if hasattr(neuron, "decay") else {}),
        "lif_soft/constants/float64",
    ),
    "answers a step late": (Mutant(spoil=_late), "lif_hard/noise/float64"),
    "gets the last spike wrong": (Mutant(spoil=_flip), "network_hard/noise/float64"),
    "counts one too many": (Mutant(spoil=_miscount), "lif_hard/noise/float64"),
    "leaves a layer out": (Mutant(spoil=lambda recording: recording.spikes.clear()), "lif_hard/noise/float64"),
    "records spikes as floats": (
        Mutant(spoil=lambda r: r.spikes.update({k: v.astype(float) for k, v in r.spikes.items()})),
        "lif_hard/noise/float64",
    ),
}


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_faulty_backend_fails_a_case(fault: str) -> None:
    mutant, name = MUTANTS[fault]
    assert isinstance(run_case(NumpyBackend(), SUITE[name]), Passed)
    result = run_case(mutant, SUITE[name])
    assert isinstance(result, Failed), fault
    assert result.where


class Silent(NumpyBackend):
    """NaN becomes silence, as in a machine that doesn't look."""

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        return super().run(program, np.nan_to_num(x, posinf=0, neginf=0) * (np.abs(x) < 1e30), dtype, device, progress)


@pytest.mark.parametrize("situation", ["nan", "overflow"])
def test_silence_about_nan_fails(situation: str) -> None:
    assert isinstance(run_case(Silent(), SUITE[f"lif_hard/{situation}/float64"]), Failed)


class Broken(NumpyBackend):
    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        raise ZeroDivisionError("inside the machine")


class Unable(NumpyBackend):
    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        return "it has no memory" if layer.operation.kind == "lif" else None


def test_a_crash_is_a_failure_with_its_traceback() -> None:
    result = run_case(Broken(), SUITE["lif_hard/nan/float64"])
    assert isinstance(result, Failed)
    assert "ZeroDivisionError: inside the machine" in result.where


def test_a_refusal_is_an_answer_of_its_own() -> None:
    assert run_case(Unable(), SUITE["lif_hard/noise/float64"]) == Refused("lif", "it has no memory")
    assert run_case(Unable(), SUITE["li/noise/float64"]) == Passed()


def test_the_table_says_each_answer_once() -> None:
    def few(case: Case) -> bool:
        return case.operation in ("lif_hard", "li", "glu") and case.situation == "noise"

    chosen = [case for case in SUITE.values() if few(case)]
    machines = {"fine": NumpyBackend(), "unable": Unable(), "broken": Broken()}
    page = table({name: [(case, run_case(machine, case)) for case in chosen] for name, machine in machines.items()})
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `lif_hard` | noise | same bits | yes | refused (1) | **2 of 2 fail** (2) |",
        "| `li` | noise | same bits | yes | yes | **2 of 2 fail** (2) |",
        "| `glu` | noise | spikes | yes | yes | **2 of 2 fail** (2) |",
    ]
    assert page.count("it has no memory") == 1


def test_sinabs_does_not_bring_samna_in() -> None:
    loaded("sinabs")
    code = "import sys; from simulators.backends import load; load('sinabs'); print('samna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
