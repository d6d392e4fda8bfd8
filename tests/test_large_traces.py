"""Traces that don't fit in memory: a part of the samples at a time, with the same answers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest

from deploy.reporting.folder import RunFolder
from deploy.verify import verify
from simulators import run as running
from simulators.backends.numpy import NumpyBackend
from simulators.run import simulate, simulate_parts
from spikestrip import execution, trace
from spikestrip.program import Program
from spikestrip.rows import Rows
from spikestrip.trace import Trace


def case(batch: int) -> tuple[Program, np.ndarray]:
    rng = np.random.default_rng(0)
    program = programs.network(rng, hidden=24, modes=2, blocks=1)
    return program, programs.gaussian(rng, program, batch, 60)


def swapped(a: Trace) -> Trace:
    order = np.array([1, 2, 0, *range(3, len(a.input))])
    return dataclasses.replace(a, spikes={name: train[order] for name, train in a.spikes.items()}, events={})


def late(a: Trace) -> Trace:
    moved = {name: np.roll(train, 2, axis=1) for name, train in a.spikes.items()}
    for train in moved.values():
        train[:, :2] = 0
    return dataclasses.replace(a, spikes=moved, events={})


def flipped(a: Trace) -> Trace:
    rng = np.random.default_rng(1)
    spikes = {name: train ^ (rng.random(train.shape) < 0.01).astype(np.uint8) for name, train in a.spikes.items()}
    return dataclasses.replace(a, spikes=spikes)


def miscounted(a: Trace) -> Trace:
    events = {name: {kind: values.copy() for kind, values in table.items()} for name, table in a.events.items()}
    events[next(reversed(a.events))]["dense_macs"][5, 7] += 1
    return dataclasses.replace(a, events=events, output=a.output + np.eye(len(a.output), 1, -6))


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("change", [lambda a: a, swapped, late, flipped, miscounted])
def test_parts_of_a_file_give_the_verdict_of_the_whole(
    change: Callable[[Trace], Trace], given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, x = case(9)
    right = simulate(program, x, NumpyBackend())
    wrong = change(right)
    by = program if given else None
    whole = verify(right, wrong, by)
    for name, one in (("right", right), ("wrong", wrong)):
        trace.write(tmp_path / f"{name}.h5", one)
    monkeypatch.setattr(execution, "PART_BYTES", 1 << 12)
    a, b = (trace.read(tmp_path / f"{name}.h5") for name in ("right", "wrong"))
    assert len(list(b.parts())) > 3
    assert all(isinstance(train, Rows) for train in (*a.spikes.values(), b.input, b.output))
    parts = verify(a, b, by)
    assert parts.to_dict() == whole.to_dict()
    for name, found in parts.differences.items():
        np.testing.assert_array_equal(found.keys, whole.differences[name].keys)
        np.testing.assert_array_equal(found.codes, whole.differences[name].codes)
        np.testing.assert_array_equal(found.fired, whole.differences[name].fired)


def test_an_exact_order_is_found_among_any_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.verification import alignment

    monkeypatch.setattr(alignment, "COMPARED", 2)
    program, x = case(9)
    right = simulate(program, x, NumpyBackend())
    assert set(verify(right, swapped(right), program).causes) == {"samples"}


def test_rows_are_the_array_that_they_stand_for() -> None:
    array = np.random.default_rng(0).integers(0, 9, (7, 5, 3))
    loaded: list[tuple[int, int]] = []

    def load(samples: slice) -> np.ndarray:
        loaded.append((samples.start, samples.stop))
        return array[samples]

    rows: Any = Rows(array.shape, array.dtype, load)
    for index in (2, -1, slice(1, 3), slice(5, None), slice(4, 2), np.array([6, 0, 6]), (slice(2, 4), 1),
                  (3, slice(None), 2), (np.array([1]), slice(2), 0)):  # fmt: skip
        np.testing.assert_array_equal(rows[index], array[index])
    assert max(stop - start for start, stop in loaded) == 2  # never more than was asked for
    for index in (slice(None, None, 2), array[:, 0, 0] > 4, ...):
        np.testing.assert_array_equal(rows[index], array[index])
    np.testing.assert_array_equal(rows != array + 1, np.ones(array.shape, bool))
    np.testing.assert_array_equal(2 * rows, 2 * array)
    assert (rows.sum(), rows.ndim, rows.size, len(rows)) == (array.sum(), 3, 105, 7)
    assert [row.tolist() for row in rows] == array.tolist()
    with pytest.raises(IndexError):
        rows[7]
    assert not hasattr(rows, "no_such_thing")


def peak(folder: Path, batch: int) -> int:
    """Bytes that writing, verifying and summing up a run of so many samples held at most."""
    program, x = case(batch)
    folder.mkdir()
    tracemalloc.start()
    try:
        files = [folder / f"reference.{name}.h5" for name in ("iterative", "parallel")]
        for file in files:
            trace.write_parts(file, simulate_parts(program, x), batch)
        verdict = verify(*(trace.read(file) for file in files), program)
        verdict.write(folder / "verdict.parallel.json")
        assert verdict.passed
        assert len(RunFolder(folder).rows()) == 2
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PART_BYTES", 1 << 15)
    monkeypatch.setattr(running, "_PART_BYTES", 1 << 15)
    peak(tmp_path / "warm", 8)
    assert peak(tmp_path / "many", 64) < 1.2 * peak(tmp_path / "few", 16)


TEN_GIGABYTES = """
import resource, sys
from pathlib import Path
import numpy as np
from deploy.report import render
from deploy.verify import verify
from spikestrip import trace
from spikestrip.trace import Trace

folder, batch, steps, neurons = Path(sys.argv[1]), 500, 1000, 10_000
attrs = {"backend": "numpy", "dtype": "float64", "device": "cpu", "form": "iterative", "program_sha256": "0" * 64}

def parts(late):
    for sample in range(batch):
        spikes = np.zeros((1, steps, neurons), np.uint8)
        spikes[0, sample :: 97, sample :: 501] = 1
        spikes[0, 998, 3] = late and sample == 400
        x, y = np.full((1, steps, 1), sample, np.float32), np.zeros((1, 2))
        yield Trace(attrs, x, y, {"n0": spikes}, {"n0": {"spikes": spikes.sum(axis=2, dtype=np.int64)}})

for name in ("iterative", "parallel"):
    trace.write_parts(folder / f"reference.{name}.h5", parts(name == "parallel"), batch)
verdict = verify(*(trace.read(folder / f"reference.{name}.h5") for name in ("iterative", "parallel")))
verdict.write(folder / "verdict.parallel.json")
render([folder], folder / "report.html")
layer = verdict.layers["n0"]
print(layer["decisions"], layer["differ"], layer["first"]["sample"], layer["first"]["step"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


@pytest.mark.slow
def test_ten_gigabytes_are_written_verified_and_reported_in_two(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TEN_GIGABYTES, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, used = done.stdout.splitlines()
    assert found == "5000000000 1 400 998"
    assert int(used) < 2 << 30
    assert (tmp_path / "report.html").stat().st_size > 1000
