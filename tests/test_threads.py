"""How threads wait: chosen before torch is loaded, for two threads or more, and never over the user's choice."""

import os
import sys

import pytest

from train.threads import bounded_spin


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, and torch not loaded."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "unset")  # so that it is taken away again
    monkeypatch.delenv("GOMP_SPINCOUNT")
    return monkeypatch


@pytest.mark.parametrize(("wanted", "threads"), [(None, 4), ("2", 2)])
def test_several_threads_spin_for_a_bounded_time(machine: pytest.MonkeyPatch, wanted: str | None, threads: int) -> None:
    if wanted is not None:
        machine.setenv("OMP_NUM_THREADS", wanted)
    said = bounded_spin()
    assert said is not None
    assert said.startswith(f"{threads} threads")
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000")],
)
def test_a_choice_of_the_user_stays(machine: pytest.MonkeyPatch, name: str, value: str) -> None:
    machine.setenv(name, value)
    assert bounded_spin() is None
    assert os.environ.get("GOMP_SPINCOUNT") == (value if name == "GOMP_SPINCOUNT" else None)


def test_one_core_has_nobody_to_wait_for(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert bounded_spin() is None
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_loaded_torch_is_too_late(machine: pytest.MonkeyPatch) -> None:
    machine.setitem(sys.modules, "torch", sys)
    assert bounded_spin() is None
    assert "GOMP_SPINCOUNT" not in os.environ
