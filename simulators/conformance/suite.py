"""Runs a case of the conformance suite on a backend, and says what differs from the oracle."""

from __future__ import annotations

import dataclasses
import traceback
from typing import get_args

import numpy as np

from simulators.backends import Backend, Dtype, Recording
from simulators.conformance.case import Case
from simulators.conformance.integers import integers
from simulators.conformance.neurons import neurons, variants
from simulators.conformance.probabilistic import probabilistic
from simulators.conformance.synapses import foreign, graded
from simulators.conformance.wholes import wholes
from spikestrip import execution, ledger
from spikestrip.errors import SpikestripError


@dataclasses.dataclass(frozen=True)
class Passed:
    """Every spike is the oracle's; a faulty case ended in an error."""


@dataclasses.dataclass(frozen=True)
class Refused:
    """The backend says beforehand that it can't hold a layer: ``kind`` is the operation, ``reason`` its answer."""

    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Failed:
    """``where`` says what differs and where first."""

    where: str


Result = Passed | Refused | Failed


def cases() -> list[Case]:
    """All cases, operation x situation x dtype, in the order of the table; the same every time.

    Most are exact: only products and sums in an order that the operation fixes, or numbers whose sums are exact in
    every order, so that a backend must give the oracle's bits. The others (dot products, exp) bear a tolerance for the
    output.
    """
    parts = (neurons, variants, graded, foreign, integers, probabilistic, wholes)
    return [case for dtype in get_args(Dtype) for part in parts for case in part(dtype)]


def run_case(backend: Backend, case: Case) -> Result:
    """Run ``case`` on the CPU device of ``backend`` and compare spikes, output and what it observed with the oracle."""
    for layer in case.program.layers:
        reason = backend.refuses(case.program, layer, case.dtype)
        if reason is not None:
            return Refused(layer.operation.kind, reason)
    try:
        with np.errstate(all="ignore"):
            recording = backend.run(case.program, case.input, case.dtype, "cpu", lambda steps: None)
    except SpikestripError as error:
        return Passed() if case.faulty else Failed(f"raised {error}")
    except Exception:  # whatever it is, it is the backend's failure, and the other cases go on
        return Failed(traceback.format_exc(limit=-3))
    where = "gave an answer where the run is no longer finite" if case.faulty else _difference(case, recording)
    return Passed() if where is None else Failed(where)


def oracle(case: Case) -> Recording:
    """What each operation's own ``step`` does in numpy, in the dtype of the case."""
    kind = np.dtype(case.dtype)
    output, spikes, numbers = execution.run(
        case.program, case.input, np, lambda array: array.astype(kind), np.asarray, lambda steps: None
    )
    return Recording(output, spikes, numbers=numbers)


def _difference(case: Case, recording: Recording) -> str | None:
    expected = oracle(case)
    for name, train in expected.spikes.items():
        given = recording.spikes.get(name)
        if given is None or given.shape != train.shape or given.dtype != np.uint8:
            return f"spikes of {name} are not {train.shape} uint8"
        if (given != train).any():
            sample, step, neuron = np.argwhere(given != train)[0]
            return (
                f"{name}: {np.count_nonzero(given != train)} spikes differ, first in sample {sample}, step {step}, "
                f"neuron {neuron}: {given[sample, step, neuron]}, not {train[sample, step, neuron]}"
            )
    for name, sent in recording.numbers.items():
        if not np.array_equal(sent, expected.numbers[name]):
            return f"{name} sends other numbers of spikes"
    if recording.output.shape != expected.output.shape:
        return f"the output has shape {recording.output.shape}, not {expected.output.shape}"
    error = np.abs(recording.output - expected.output, dtype=np.float64)
    allowed = case.tolerance * np.maximum(1, np.abs(expected.output, dtype=np.float64))
    if not (error <= allowed).all():
        return f"the output differs by up to {np.max(error):.3g}"
    return _miscount(case, expected, recording)


def _miscount(case: Case, expected: Recording, recording: Recording) -> str | None:
    events = ledger.count(case.program, case.input, expected.spikes)
    for told in (recording.observed, recording.events):
        for name, counters in told.items():
            for counter, seen in counters.items():
                if not np.array_equal(seen, events[name][counter]):
                    return f"{name}: observed other {counter} than the ledger counts"
    return None
