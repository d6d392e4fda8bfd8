"""Event files as input, and traces in NIR's own data format: exact, or refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import nir
import numpy as np
import programs
import pytest
from commands import run

from convert.formats.nir.writing import write
from simulators.backends.numpy import NumpyBackend
from simulators.run import command, simulate
from spikestrip import inputs, nirdata, trace
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, Flatten
from spikestrip.program import chain

SHAPE = (2, 3, 4)  # two polarities, three rows, four columns
KIND = [("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)]
EVENTS = np.array([(3, 0, 1, 0), (3, 0, 1, 9), (0, 2, 0, 10), (1, 1, 1, 39)], KIND)


def saved(path: Path, events: np.ndarray) -> Path:
    np.save(path / "events.npy", events)
    return path / "events.npy"


def test_events_become_counts_of_each_place_polarity_and_step(tmp_path: Path) -> None:
    x = inputs.read(saved(tmp_path, EVENTS), SHAPE, 10)
    expected = np.zeros((1, 4, *SHAPE))
    expected[0, 0, 1, 0, 3] = 2
    expected[0, 1, 0, 2, 0] = 1
    expected[0, 3, 1, 1, 1] = 1
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, expected)


def other(**fields: Any) -> np.ndarray:
    changed = EVENTS.copy()
    for name, value in fields.items():
        changed[name][2] = value
    return changed


REFUSED: dict[str, tuple[np.ndarray, tuple[int, ...], int | None, str]] = {
    "no step": (EVENTS, SHAPE, None, "give --event-step"),
    "a flat program": (EVENTS, (24,), 10, r"takes \(24,\), not \(2, height, width\)"),
    "one polarity": (EVENTS, (1, 3, 4), 10, "two polarities"),
    "a column beyond": (other(x=4), SHAPE, 10, "its x go from 1 to 4, not from 0 to 3"),
    "a row beyond": (other(y=-1), SHAPE, 10, "its y go from -1"),
    "before the beginning": (other(t=-1), SHAPE, 10, "its t go from -1"),
    "real times": (EVENTS.astype([*KIND[:3], ("t", np.float64)]), SHAPE, 10, "its t are float64"),
    "no event": (EVENTS[:0], SHAPE, 10, "no event"),
    "another field": (EVENTS[["x", "y", "t"]], SHAPE, 10, "x, y, p, t"),
    "a clock of its own": (other(t=1_700_000_000_000_000), SHAPE, 10, "from its own beginning"),
}
signed = EVENTS.astype([("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
signed["p"][0] = -1
REFUSED["polarities of -1"] = (signed, SHAPE, 10, "its p go from -1 to 1")


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_clear_frames_is_refused(what: str, tmp_path: Path) -> None:
    events, shape, step, says = REFUSED[what]
    with pytest.raises(BadInput, match=says):
        inputs.read(saved(tmp_path, events), shape, step)


def test_a_step_of_events_is_for_events_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 3), np.float32))
    with pytest.raises(BadInput, match="--event-step"):
        inputs.read(tmp_path / "x.npy", (3,), 10)


def test_a_simulation_takes_events(tmp_path: Path) -> None:
    ones = np.ones(SHAPE)
    write(chain(SHAPE, [("n0", LIF(ones * 0, ones)), ("n1", Flatten())]), tmp_path / "m.nir")
    given = ("--backend", "numpy", "--input", saved(tmp_path, EVENTS), "-o", tmp_path / "t.h5")
    assert run(command, tmp_path / "m.nir", *given).code == 2
    done = run(command, tmp_path / "m.nir", *given, "--event-step", 10)
    assert done.code == 0, done.stderr
    assert trace.read(tmp_path / "t.h5").spikes["n0"].sum(axis=2).tolist() == [[1, 1, 0, 1]]


@pytest.mark.parametrize("readout", ["mean", "sequence"])
def test_a_trace_goes_to_nirs_data_and_back(readout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    program = dataclasses.replace(programs.network(rng, hidden=8), readout=readout)  # type: ignore[arg-type]
    written = simulate(program, programs.gaussian(rng, program, 3, 20), NumpyBackend())
    written.save(tmp_path / "t.h5")
    data = trace.read(tmp_path / "t.h5").to_nirdata(dt=1e-3)
    name = program.spiking[0].name
    assert data.nodes[name].observables["spikes"].data.dtype == bool
    assert data.nodes[name].observables["spikes"].t_max == pytest.approx(0.02)
    grid = data.nodes[name].observables["spikes"]
    data.nodes[name].observables["spikes"] = grid.to_event(1000)  # by nir itself
    back = nirdata.from_nirdata(data, written.attrs)
    assert back.attrs == written.attrs
    for ours, theirs in ((back.input, written.input), (back.output, written.output)):
        np.testing.assert_array_equal(ours, theirs)
    assert list(back.spikes) == list(written.spikes)
    for layer, train in written.spikes.items():
        np.testing.assert_array_equal(back.spikes[layer], train)


@pytest.mark.parametrize(
    ("idx", "time", "says"),
    [([[0, 1]], [[0.0, 0.5]], "between"), ([[0, 5]], [[0.0, 1.0]], "neurons"), ([[0, 1]], [[0.0, 9.0]], "outside"),
     ([[0, 0]], [[1.0, 1.0]], "two events")],
)  # fmt: skip
def test_events_that_are_no_spikes_of_steps_are_refused(idx: Any, time: Any, says: str) -> None:
    grid = nir.data_ir.TimeGriddedData(np.zeros((1, 3, 1), np.float32), 1.0)
    events = nir.data_ir.EventData(np.array(idx), np.array(time), 2, 3.0)
    nodes = {
        "input": nir.data_ir.NIRNodeData({"values": grid}),
        "n0": nir.data_ir.NIRNodeData({"spikes": events}),
        "output": nir.data_ir.NIRNodeData({"values": grid}),
    }
    with pytest.raises(BadInput, match=f"node n0.*{says}"):
        nirdata.from_nirdata(nir.data_ir.NIRGraphData(nodes))
