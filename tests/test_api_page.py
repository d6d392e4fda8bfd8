"""The API page is the docstrings' own, and no public name is without one."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))
import make_api


def test_the_page_is_current() -> None:
    assert make_api.PAGE.read_text() == make_api.page(), "run python docs/make_api.py"


@pytest.mark.parametrize("room", make_api.ROOMS)
def test_every_public_name_says_what_it_is(room: str) -> None:
    names = [(name, value) for name, value, _ in make_api.public(import_module(room))]
    assert [name for name, value in names if not make_api.documented(value)] == []


def test_what_the_page_must_hold() -> None:
    page = make_api.PAGE.read_text()
    for name in ("load", "simulate", "verify", "Program.sha256", "Trace.save", "LIF", "Backend.run", "Verdict.passed"):
        assert f"`{name}`" in page
    assert " at 0x" not in page
