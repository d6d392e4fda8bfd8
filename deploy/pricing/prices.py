"""Prices as data: what each counter is charged as, and what that costs, by whom and when it was said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikestrip.errors import BadInput
from spikestrip.files import read_toml
from spikestrip.operations import COUNTERS

PRICES = Path(__file__).parent.parent / "prices"
GRADES = ("measured on chip", "simulated", "published estimate", "assumption")
KINDS = ("spiking", "other")
"""Layers that spike, and all others, are charged apart: a neuron's update is no arithmetic of an SSM."""

IMPOSSIBLE = {("other", "spikes"), *(("spiking", name) for name in ("synaptic_acs", "effective_macs", "dense_macs"))}
"""What is never counted: spikes of a layer that doesn't spike, and weights of a neuron."""


@dataclasses.dataclass(frozen=True)
class Price:
    """Picojoules of one operation, as a range (the same number twice where it is one), or None where there is none."""

    picojoules: tuple[float, float] | None
    source: str
    date: str
    grade: str


@dataclasses.dataclass(frozen=True)
class Table:
    """One reading. charges: kind of layer -> counter -> terms; left_out: counter (or kind.counter) -> why."""

    name: str
    process: str
    charges: Mapping[str, Mapping[str, tuple[str, ...]]]
    left_out: Mapping[str, str]
    prices: Mapping[str, Price]


def names() -> list[str]:
    """The readings that come with Spikestrip."""
    return sorted(path.stem for path in PRICES.glob("*.toml"))


def read(name: str) -> Table:
    """The reading called ``name``, or the one in the TOML file of that path. Raises BadInput."""
    path = PRICES / f"{name}.toml"
    if name not in names():
        if not name.endswith(".toml"):
            raise BadInput("--table", f"{name!r} is not one of {', '.join(names())}, nor a .toml file")
        path = Path(name)
    return _table(path, read_toml(path))


def _table(path: Path, content: dict[str, Any]) -> Table:
    if not all(isinstance(content.get(field), str) for field in ("name", "process")):
        raise BadInput(path, "needs a name and a process")
    parts = {part: content.get(part, {}) for part in (*KINDS, "left_out", "prices")}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise BadInput(path, f"needs the tables {', '.join(parts)}")
    prices = {term: _price(path, term, entry) for term, entry in parts["prices"].items()}
    for kind in KINDS:
        for counter in COUNTERS:
            terms = parts[kind].get(counter)
            if terms is None:
                if (kind, counter) not in IMPOSSIBLE and not {counter, f"{kind}.{counter}"} & set(parts["left_out"]):
                    raise BadInput(path, f"{kind}.{counter} is neither charged nor left out for a reason")
            elif not isinstance(terms, list) or not terms or not all(term in list(prices) for term in terms):
                raise BadInput(path, f"{kind}.{counter} is not a list of terms that have an entry in prices")
        unknown = set(parts[kind]) - set(COUNTERS)
        if unknown:
            raise BadInput(path, f"{kind}.{min(unknown)} is not a counter: {', '.join(COUNTERS)}")
    charges = {kind: {counter: tuple(terms) for counter, terms in parts[kind].items()} for kind in KINDS}
    return Table(content["name"], content["process"], charges, parts["left_out"], prices)


def _price(path: Path, term: str, entry: object) -> Price:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(field), str) for field in ("source", "date")):
        raise BadInput(path, f"prices.{term} needs a source and a date")
    value = entry.get("picojoules")
    if value is None:
        return Price(None, entry["source"], entry["date"], "")
    if entry.get("grade") not in GRADES:
        raise BadInput(path, f"prices.{term} needs a grade: {', '.join(GRADES)}")
    ends = value if isinstance(value, list) else [value, value]
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool) and end >= 0]
    if len(ends) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
        raise BadInput(path, f"prices.{term}: {value!r} is not picojoules, nor a range of them")
    return Price((float(numbers[0]), float(numbers[1])), entry["source"], entry["date"], entry["grade"])
