"""How many threads, and how they wait: chosen before torch is loaded, by what is free, never over the user's choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import run
from stopped import stopping_after

from train import threads
from train.checkpoint import load
from train.resuming import State
from train.run import command
from train.threads import choose, free_cores, loops, operations_on

OPTIONS = ["--task", "digits", "--epochs", "2", "--d-model", "16", "--d-state", "2", "--batch", "200"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, all free, and torch not loaded."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(threads, "free_cores", len)
    monkeypatch.setenv("GOMP_SPINCOUNT", "unset")  # so that it is taken away again
    monkeypatch.delenv("GOMP_SPINCOUNT")
    return monkeypatch


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("wanted", "number"), [(None, 4), ("2", 2), ("6", 6)])
def test_several_threads_spin_for_a_bounded_time(machine: pytest.MonkeyPatch, wanted: str | None, number: int) -> None:
    if wanted is not None:
        machine.setenv("OMP_NUM_THREADS", wanted)
    chosen = choose()
    assert chosen is not None
    assert chosen.operations == number
    assert chosen.says.startswith(f"{number} threads")
    assert "cores are free" not in chosen.says
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize(
    ("wanted", "free", "operations"), [(None, 2.9, 3), (None, 1.2, 1), (None, 0.0, 1), ("2", 1.1, 1), ("2", 2.1, 2)]
)
def test_torchs_operations_take_the_cores_that_are_free(
    machine: pytest.MonkeyPatch, wanted: str | None, free: float, operations: int
) -> None:
    machine.setattr(threads, "free_cores", lambda _: free)
    if wanted is not None:
        machine.setenv("OMP_NUM_THREADS", wanted)
    chosen = choose()
    assert chosen is not None
    assert chosen.operations == operations
    assert (f"{free:.1f} of 4 cores are free" in chosen.says) == (operations < int(wanted or 4))


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000")],
)
def test_a_choice_of_the_user_stays(machine: pytest.MonkeyPatch, name: str, value: str) -> None:
    machine.setenv(name, value)
    assert choose() is None
    assert os.environ.get("GOMP_SPINCOUNT") == (value if name == "GOMP_SPINCOUNT" else None)


def test_one_core_has_nobody_to_wait_for(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert choose() is None
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_loaded_torch_is_too_late(machine: pytest.MonkeyPatch) -> None:
    machine.setitem(sys.modules, "torch", sys)
    assert choose() is None
    assert "GOMP_SPINCOUNT" not in os.environ


def test_free_cores_by_the_systems_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core 0 computed all the time, core 1 for ten ticks of 25; core 3 was idle for five, stolen for the rest; core 2
    isn't told of."""
    told = [
        "cpu  300 0 60 7500 30 0 0 0 0 0\n"
        f"cpu0 {user} 0 20 2500 10 0 0 0 0 0\ncpu1 {some} 0 20 {idle} 10 0 0 0 0 0\n"
        f"cpu3 100 0 20 2500 {wait} 0 0 {stolen} 0 0\n"
        "intr 114930548 113199788 3 0 5\n"
        for user, some, idle, wait, stolen in ((100, 100, 2500, 10, 0), (125, 110, 2515, 15, 20))
    ]
    monkeypatch.setattr(Path, "read_text", lambda *_: told.pop(0))
    assert free_cores({0, 1, 2, 3}) == pytest.approx(0.0 + 0.6 + 1.0 + 0.2)


def test_cores_are_free_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert free_cores({0, 1, 2}) == 3


def test_compiled_loops_keep_the_threads_that_torchs_operations_leave(two_threads: None) -> None:
    assert loops() == 2
    with operations_on(1):
        assert (torch.get_num_threads(), loops()) == (1, 2)
        with operations_on(1):
            assert (torch.get_num_threads(), loops()) == (1, 2)
        assert (torch.get_num_threads(), loops()) == (1, 2)
    assert (torch.get_num_threads(), loops()) == (2, 2)


@pytest.mark.parametrize(("how", "expected"), [("fused", 1), ("scan", 2)])
def test_a_step_of_compiled_blocks_has_torch_on_one_thread(
    tmp_path: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch, how: str, expected: int
) -> None:
    import train.loop

    seen = []
    entropy = train.loop.cross_entropy

    def spy(*given: object) -> object:
        seen.append((torch.get_num_threads(), loops()))
        return entropy(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(train.loop, "cross_entropy", spy)
    done = run(command, *OPTIONS, "--parallel", how, "--out", tmp_path / "c.pt")
    assert done.code == 0, done.stderr
    assert set(seen) == {(expected, 2)}
    assert torch.get_num_threads() == 2


def test_a_run_of_compiled_blocks_is_the_same_to_the_bit_on_any_number_of_threads(tmp_path: Path) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            out = tmp_path / f"{number}.pt"
            assert run(command, *OPTIONS, "--parallel", "fused", "--out", out).code == 0
            found.append(load(out).network.state_dict())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(weights, found[1][name]) for name, weights in found[0].items())


def test_a_run_goes_on_with_the_threads_that_it_began_with(tmp_path: Path, two_threads: None) -> None:
    folder = tmp_path / "run"
    with operations_on(1), stopping_after(1):
        assert run(command, *OPTIONS, "--run-dir", folder).code == 130
    assert State.read(folder / "last.pt").operations == 1
    assert run(command, *OPTIONS, "--run-dir", folder).code == 0
    assert State.read(folder / "last.pt").operations == 1


@pytest.mark.parametrize("operations", [0, "two", True, 1.0])
def test_a_state_of_no_number_of_threads(tmp_path: Path, operations: object) -> None:
    folder = tmp_path / "run"
    with stopping_after(1):
        run(command, *OPTIONS, "--run-dir", folder)
    held = torch.load(folder / "last.pt", weights_only=True)
    torch.save(held | {"operations": operations}, folder / "last.pt")
    done = run(command, *OPTIONS, "--run-dir", folder)
    assert done.code == 2
    assert "last.pt" in done.stderr
    assert "operations" in done.stderr
