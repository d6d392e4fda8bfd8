"""``spikestrip doctor``: what it says of a machine that lacks something, and of a backend that is wrong."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from click.testing import CliRunner

from deploy import doctor
from simulators.backends import Recording, interface
from simulators.backends.numpy import NumpyBackend
from spikestrip import extras


class Forgetful(NumpyBackend):
    """A backend that loses the first sample's spikes."""

    name = "forgetful"

    def run(self, program, x, dtype, device, progress) -> Recording:  # type: ignore[no-untyped-def]
        recording = super().run(program, x, dtype, device, progress)
        for train in recording.spikes.values():
            train[0] = 0
        return recording


def with_backends(monkeypatch: pytest.MonkeyPatch, **places: str) -> None:
    points = [EntryPoint(name, place, "spikestrip.backends") for name, place in places.items()]
    monkeypatch.setattr(interface, "entry_points", lambda group: points)


def test_a_right_backend_and_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_backends(monkeypatch, numpy="simulators.backends.numpy:NumpyBackend", mars="mars_sdk:MarsBackend")
    result = CliRunner().invoke(doctor.command, standalone_mode=False)
    assert result.return_value == 0
    assert "works: the oracle's bits" in result.output
    assert "mars_sdk" in result.output


def test_a_wrong_backend_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with_backends(monkeypatch, forgetful=f"{__name__}:Forgetful")
    right, said = doctor.tried("forgetful")
    assert not right
    assert "spikes differ, first in sample 0" in said
    assert CliRunner().invoke(doctor.command, standalone_mode=False).return_value == 1


def test_what_an_extra_lacks_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "requires", lambda name: ["numpy>=2", 'absent-one>=1; extra == "lava"'])
    assert extras.extras()["lava"]["absent-one"] is None
    assert extras.remedy("lava").endswith("--no-deps --ignore-requires-python lava-nc")
    assert np.__version__ not in str(extras.extras())  # what every installation has is no extra
