"""How threads wait: chosen before torch is loaded, by what else the machine does, and never over the user's choice."""

import os
import sys

import pytest

from train.threads import patient


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, busy with four processes, and torch not loaded."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0.0, 0.0), raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "unset")  # so that it is taken away again
    monkeypatch.delenv("GOMP_SPINCOUNT")
    return monkeypatch


def test_on_a_busy_machine_threads_sleep(machine: pytest.MonkeyPatch) -> None:
    said = patient()
    assert said is not None
    assert "load 4.0 on 4 cores: 4 threads" in said
    assert os.environ["GOMP_SPINCOUNT"] == "0"


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000")],
)
def test_a_choice_of_the_user_stays(machine: pytest.MonkeyPatch, name: str, value: str) -> None:
    machine.setenv(name, value)
    assert patient() is None
    assert os.environ.get("GOMP_SPINCOUNT") == (value if name == "GOMP_SPINCOUNT" else None)


def test_on_an_idle_machine_they_spin(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(os, "getloadavg", lambda: (0.3, 0.0, 0.0))
    assert patient() is None
    assert "GOMP_SPINCOUNT" not in os.environ
