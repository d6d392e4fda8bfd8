"""What a state dictionary can't say, and so has to be said beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from spikestrip.errors import BadInput

SIDECAR = "official.json"
Allowed = tuple[Any, ...] | Literal["a number", "an object"]


def check_facts(source: Path, facts: dict[str, Any], needed: dict[str, Allowed]) -> None:
    """Raise BadInput unless ``facts`` has just the entries of ``needed``, each with a value that is allowed."""
    missing = [f"{name} ({_said(allowed)})" for name, allowed in needed.items() if name not in facts]
    if missing:
        raise BadInput(source, f"is a paper's own checkpoint; {SIDECAR} beside it has to say {', '.join(missing)}")
    for name, value in facts.items():
        if name not in needed:
            raise BadInput(source, f"{SIDECAR} says {name}, which is none of {', '.join(needed)}")
        if not _fits(value, needed[name]):
            raise BadInput(source, f"{SIDECAR} says {name} {value!r}; what can be imported is {_said(needed[name])}")


def _fits(value: Any, allowed: Allowed) -> bool:
    if isinstance(allowed, str):
        return isinstance(value, dict) if allowed == "an object" else type(value) in (int, float)
    return any(type(value) is type(choice) and value == choice for choice in allowed)  # True is not 1


def _said(allowed: Allowed) -> str:
    return allowed if isinstance(allowed, str) else " or ".join(json.dumps(choice) for choice in allowed)
