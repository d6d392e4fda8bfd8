"""Verify: each difference is kept with its cause, also beside verdict.json; no spiking layer is no hindrance."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import programs
import pytest
from commands import run

from deploy.verification import differences
from deploy.verify import command, verify
from simulators.backends.numpy import NumpyBackend
from simulators.run import simulate
from spikestrip import trace
from spikestrip.operations import Affine, LeakyIntegrator
from spikestrip.program import Program, chain


@pytest.mark.parametrize("part", [differences.PART, 7])
@pytest.mark.parametrize("given", [True, False])
def test_the_table_holds_each_difference(
    given: bool, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differences, "PART", part)
    rng = np.random.default_rng(0)
    program = programs.network(rng, hidden=8, modes=3)
    x = programs.gaussian(rng, program, 3, 40)
    right = simulate(program, x, NumpyBackend())
    spikes = {n: train ^ (rng.random(train.shape) < 0.02).astype(np.uint8) for n, train in right.spikes.items()}
    spikes[next(iter(spikes))] = right.spikes[next(iter(spikes))]  # a layer without any
    wrong = dataclasses.replace(right, spikes=spikes)
    verdict = verify(right, wrong, program if given else None)
    verdict.write(tmp_path / "v.json")
    content = json.loads((tmp_path / "v.json").read_text())
    assert "differences" not in content
    with h5py.File(tmp_path / "v.differences.h5") as file:
        assert list(file.attrs["order"]) == list(right.spikes)
        names = list(file.attrs["causes"])
        for name, train in right.spikes.items():
            columns = {column: file[name][column][()] for column in ("sample", "step", "neuron", "cause", "spike")}
            places = np.stack([columns[column] for column in ("sample", "step", "neuron")], axis=1)
            np.testing.assert_array_equal(places, np.argwhere(train != spikes[name]))
            assert tuple(file[name].attrs["shape"]) == train.shape
            np.testing.assert_array_equal(columns["spike"], spikes[name][train != spikes[name]])
            counted = {names[code]: int(count) for code, count in enumerate(np.bincount(columns["cause"])) if count}
            assert counted == content["layers"][name]["causes"]


def test_the_table_writes_over_no_file_that_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    program = programs.network(rng, hidden=4)
    right = simulate(program, programs.gaussian(rng, program, 2, 9), NumpyBackend())
    own = tmp_path / "a.differences.h5"
    trace.write(own, right)
    before = own.read_bytes()
    done = run(command, own, own, "--json", tmp_path / "a.json")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert own.read_bytes() == before


def graded() -> Program:
    weights = np.random.default_rng(1).normal(0, 1, (4, 3)).astype(np.float32)
    return chain((3,), [("n0", Affine(weights)), ("n1", LeakyIntegrator(np.full(4, 0.5)))])


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_without_a_spiking_layer_outputs_are_compared(dtype: str, given: bool, tmp_path: Path) -> None:
    program = graded()
    x = np.random.default_rng(2).normal(0, 1, (2, 30, 3)).astype(np.float32)
    right = simulate(program, x, NumpyBackend())
    other = simulate(program, x, NumpyBackend(), dtype)  # type: ignore[arg-type]
    trace.write(tmp_path / "other.h5", other)
    other = trace.read(tmp_path / "other.h5")
    by = program if given else None
    verdict = verify(right, other, by)
    assert verdict.passed, verdict.failures
    verdict.write(tmp_path / "v.json")
    assert "verdict" in str(verdict)
    other.output = other.output + np.eye(30, 4)[None] * 0.1
    verdict = verify(right, other, by)
    assert not verdict.passed
    assert verdict.failures[0].startswith("output")
