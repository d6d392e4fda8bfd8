"""Traces come back as they were written, and nothing else passes for a trace."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestrip import trace
from spikestrip.errors import BadInput
from spikestrip.trace import Trace


def example(seed: int = 0, batch: int = 2, steps: int = 3, tokens: bool = False) -> Trace:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(batch, steps, 4)).astype(np.float32)
    counts = {
        "z_first": {"spikes": rng.integers(0, 5, (batch, steps))},
        "a_second": {"spikes": np.ones((batch, steps))},
    }
    return Trace(
        attrs={"backend": "numpy", "dtype": "float64", "seed": 0, "seconds": 0.5, "checked": True},
        input=rng.integers(0, 9, (batch, steps, 1)) if tokens else values,
        output=rng.normal(size=(batch, 5)),
        spikes={
            "z_first": rng.integers(0, 2, (batch, steps, 6)).astype(np.uint8),
            "a_second": rng.integers(0, 2, (batch, steps, 1)).astype(np.uint8),
        },
        events={name: {k: v.astype(np.int64) for k, v in table.items()} for name, table in counts.items()},
        observed={"z_first": {"spikes": counts["z_first"]["spikes"]}},
    )


@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int, steps: int, tokens: bool) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.h5"
    written = example(seed, batch, steps, tokens)
    trace.write(path, written)
    read = trace.read(path)
    assert written.attrs.items() <= read.attrs.items()
    assert list(read.spikes) == ["z_first", "a_second"]  # the program's order, not the alphabet's
    for one, two in (
        (written.input, read.input),
        (written.output, read.output),
        *((written.spikes[name], read.spikes[name]) for name in written.spikes),
        *((written.events[name]["spikes"], read.events[name]["spikes"]) for name in written.events),
        (written.observed["z_first"]["spikes"], read.observed["z_first"]["spikes"]),
    ):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def test_what_the_file_holds(tmp_path: Path) -> None:
    trace.write(tmp_path / "t.h5", example())
    with h5py.File(tmp_path / "t.h5") as file:
        assert file.attrs["format"] == "spikestrip-trace"
        assert len(file.attrs["input_sha256"]) == 64
        assert file["input"].compression == "gzip"
        assert file["layers/z_first/spikes"].dtype == np.uint8
        assert file["layers/z_first/spikes"].compression == "gzip"
        assert file["layers/z_first/spikes"].shape == (2, 3, 1)  # six neurons in a byte
        assert file["layers/z_first/spikes"].attrs["neurons"] == 6
        assert file["events/a_second/spikes"].dtype == np.int32
        assert file["observed/z_first/spikes"].shape == (2, 3)


def old(path: Path, of: Trace) -> None:
    """The first layout: a byte for each spike, and every counter as int64."""
    with h5py.File(path, "w") as file:
        file.attrs.update(of.attrs)
        file.attrs.update(format="spikestrip-trace", version=1, input_sha256=trace.input_sha256(of.input))
        file.create_dataset("input", data=of.input, compression="gzip")
        file.create_dataset("output", data=of.output)
        file.create_group("layers").attrs["order"] = list(of.spikes)
        for name, train in of.spikes.items():
            file.create_dataset(f"layers/{name}/spikes", data=train, compression="gzip")
        for kind, tables in (("events", of.events), ("observed", of.observed)):
            for name, counters in tables.items():
                for counter, values in counters.items():
                    file.create_dataset(f"{kind}/{name}/{counter}", data=values, compression="gzip")


def same(one: Trace, two: Trace) -> None:
    assert list(one.spikes) == list(two.spikes)
    for a, b in (
        (one.input, two.input),
        (one.output, two.output),
        *((one.spikes[name], two.spikes[name]) for name in one.spikes),
        *((one.events[name][c], two.events[name][c]) for name in one.events for c in one.events[name]),
        *((one.observed[name][c], two.observed[name][c]) for name in one.observed for c in one.observed[name]),
    ):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    written = example(batch=5)
    old(tmp_path / "t.h5", written)
    same(trace.read(tmp_path / "t.h5"), written)


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_parts_make_the_file_of_the_whole(sizes: list[int], tmp_path: Path) -> None:
    written = example(batch=5)
    written.events["z_first"]["spikes"][3, 1] = 2**40  # beyond 32 bits, after the first samples
    ends = np.cumsum([0, *sizes])
    trace.write_parts(tmp_path / "t.h5", (written[a:b] for a, b in itertools.pairwise(ends)), 5)
    read = trace.read(tmp_path / "t.h5")
    same(read, written)
    assert read.attrs["input_sha256"] == trace.input_sha256(written.input)
    same(read[1:3], written[1:3])
    np.testing.assert_array_equal(read.spikes["z_first"][np.array([4, 0]), 1:], written.spikes["z_first"][[4, 0], 1:])
    np.testing.assert_array_equal(read.spikes["z_first"][2, :, :3], written.spikes["z_first"][2, :, :3])


def test_what_is_constant_takes_no_room(tmp_path: Path) -> None:
    written = example(batch=5)
    written.events["a_second"]["spikes"][:] = 7
    trace.write_parts(tmp_path / "t.h5", (written[i : i + 1] for i in range(5)), 5)
    with h5py.File(tmp_path / "t.h5") as file:
        assert file["events/a_second/spikes"].id.get_storage_size() == 0
        assert (file["events/a_second/spikes"][()] == 7).all()  # whoever reads it sees numbers
        assert file["events/z_first/spikes"].id.get_storage_size() > 0
    same(trace.read(tmp_path / "t.h5"), written)


def test_a_long_run_with_one_event_is_no_bomb(tmp_path: Path) -> None:
    """Nearly all of its counters are fill values: 400 MB of numbers in a file of less than a megabyte."""
    steps, counters = 50_000, 20
    zeros = np.zeros((1, steps), np.int64)
    attrs: dict[str, trace.Attribute] = {"backend": "numpy"}
    table = {f"c{number}": zeros for number in range(counters)}
    last = {**table, **{name: zeros + (np.arange(steps) == 7) for name in table}}
    x, y, silent = np.zeros((1, steps, 1), np.float32), np.zeros((1, 1)), np.zeros((1, steps, 1), np.uint8)
    parts = (Trace(attrs, x, y, {"n": silent}, {"n": last if sample == 99 else table}) for sample in range(100))
    trace.write_parts(tmp_path / "t.h5", parts, 100)
    assert (tmp_path / "t.h5").stat().st_size < 1 << 20
    read = trace.read(tmp_path / "t.h5")
    assert read.counted()["n"]["c3"] == 1


def test_too_few_samples_and_spikes_of_two_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="got 2 samples of 3"):
        trace.write_parts(tmp_path / "t.h5", [example(batch=2)], 3)
    twice = example()
    twice.spikes["z_first"][0, 0, 0] = 2
    with pytest.raises(BadInput, match="z_first"):
        trace.write(tmp_path / "t.h5", twice)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    broken = example()
    broken.spikes["z_first"] = np.full((2, 3, 6), object())
    with pytest.raises(TypeError):
        trace.write(tmp_path / "t.h5", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    trace.write(path, example())
    before = path.read_bytes()
    broken = example()
    broken.spikes["z_first"] = np.full((2, 3, 6), object())
    with pytest.raises(TypeError):
        trace.write(path, broken)
    assert path.read_bytes() == before


def replace(name: str, value: object) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def attribute(name: str, value: object) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


def external(file: h5py.File) -> None:
    del file["output"]
    file["output"] = h5py.ExternalLink("/etc/hostname", "/")


def soft(file: h5py.File) -> None:
    file["events/again"] = h5py.SoftLink("/events/z_first")


def storage(file: h5py.File) -> None:
    del file["output"]
    file.create_dataset("output", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file: h5py.File) -> None:
    del file["output"]
    layout = h5py.VirtualLayout((2, 5), "f8")
    layout[:] = h5py.VirtualSource("/tmp/elsewhere.h5", "x", (2, 5))
    file.create_virtual_dataset("output", layout)


def bomb(file: h5py.File) -> None:
    del file["input"]
    file.create_dataset("input", (1 << 14, 1 << 14, 1), "f4", chunks=(1 << 10, 1 << 10, 1), compression="gzip")


def deep(file: h5py.File) -> None:
    file.create_group("/".join("d" * 100))


SPOILED: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "another format": (attribute("format", "something"), "not a Spikestrip trace"),
    "a later version": (attribute("version", 3), "version 3"),
    "another hash": (attribute("input_sha256", "0" * 64), "hash"),
    "no input": (replace("input", None), "lacks"),
    "no output": (replace("output", None), "lacks"),
    "no layers": (replace("layers", None), "lacks"),
    "layers is a number": (replace("layers", 3), "lacks"),
    "no spikes": (replace("layers/z_first/spikes", None), "lacks"),
    "a layer is a number": (replace("layers/z_first", 3), "lacks"),
    "spikes of 2": (replace("layers/z_first/spikes", np.full((2, 3, 6), 2, np.uint8)), "not 0 or 1"),
    "spikes as floats": (replace("layers/z_first/spikes", np.ones((2, 3, 6))), "not 0 or 1"),
    "other steps": (replace("layers/z_first/spikes", np.ones((2, 4, 6), np.uint8)), "z_first"),
    "one axis less": (replace("layers/z_first/spikes", np.ones((2, 3), np.uint8)), "z_first"),
    "input of text": (replace("input", ["a", "b"]), "input"),
    "output of text": (replace("output", ["a", "b"]), "output"),
    "input is empty": (replace("input", h5py.Empty("f4")), "input"),
    "output is empty": (replace("output", h5py.Empty("f8")), "output"),
    "spikes are empty": (replace("layers/z_first/spikes", h5py.Empty("u1")), "z_first"),
    "input without channels": (replace("input", np.ones((2, 3))), "input"),
    "NaN in the output": (replace("output", np.full((2, 5), np.nan)), "finite"),
    "other samples in the output": (replace("output", np.ones((3, 5))), "output"),
    "events is a number": (replace("events", 3), "lacks"),
    "a layer's events are a number": (replace("events/z_first", 3), "lacks"),
    "a counter of floats": (replace("events/z_first/spikes", np.full((2, 3), 0.5)), "z_first"),
    "a counter of other steps": (replace("events/z_first/spikes", np.ones((2, 9), np.int64)), "z_first"),
    "an external link": (external, "link"),
    "a soft link": (soft, "link"),
    "data in another file": (storage, "another file"),
    "a virtual data set": (virtual, "another file"),
    "a bomb": (bomb, "expands"),
    "more neurons than bits": (lambda file: file["layers/z_first/spikes"].attrs.update(neurons=9), "9 neurons"),
    "fewer": (lambda file: file["layers/z_first/spikes"].attrs.update(neurons=0), "0 neurons"),
    "neurons of text": (lambda file: file["layers/z_first/spikes"].attrs.update(neurons="six"), "lacks"),
    "bits beyond the neurons": (lambda file: file["layers/z_first/spikes"].__setitem__((0, 0, 0), 1), "bits beyond"),
    "depth": (deep, "deep"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_no_whole_trace_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "t.h5"
    trace.write(path, example())
    spoil, says = SPOILED[what]
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(BadInput, match=says) as error:
        trace.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 100, 1500, -1])
def test_truncated_files_are_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "t.h5"
    trace.write(path, example())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadInput):
        trace.read(path)


def test_flipped_bytes_never_give_other_input(tmp_path: Path) -> None:
    """Each flipped byte is refused, or the input and the spikes' form still hold."""
    path = tmp_path / "t.h5"
    trace.write(path, example())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        spoiled = bytearray(whole)
        spoiled[place] ^= 0xFF
        path.write_bytes(spoiled)
        try:
            read = trace.read(path)
        except BadInput:
            continue
        np.testing.assert_array_equal(read.input, example().input)


def test_folders_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="folder"):
        trace.read(tmp_path)
    with pytest.raises(BadInput, match="no such file"):
        trace.read(tmp_path / "absent.h5")
    with pytest.raises(BadInput, match="folder"):
        trace.write(tmp_path, example())
    with pytest.raises(BadInput):
        trace.write(tmp_path / "no" / "such" / "folder.h5", example())
