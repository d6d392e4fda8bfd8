"""Counts times prices, layer by layer; no total where something that was counted has no price."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from deploy.pricing.prices import Table
from spikestrip.errors import BadInput
from spikestrip.ledger import SATURATIONS
from spikestrip.operations import COUNTERS
from spikestrip.trace import Trace

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """What one counter of a layer costs. joules: low and high, None where one of its terms has no price."""

    layer: str
    counter: str
    count: float
    terms: tuple[str, ...]
    joules: Range | None


@dataclasses.dataclass(frozen=True)
class Bill:
    """A reading of one run. lines: what is charged; nothing that wasn't counted is."""

    table: Table
    lines: tuple[Line, ...]

    @property
    def missing(self) -> dict[str, str]:
        """The terms that are charged and have no price, and why."""
        terms = [term for line in self.lines for term in line.terms]
        return {term: self.table.prices[term].source for term in terms if self.table.prices[term].picojoules is None}

    @property
    def total(self) -> Range | None:
        """Joules, low and high; None where a term is missing: what is known of it would pass for the whole."""
        ranges = [line.joules for line in self.lines]
        known = [joules for joules in ranges if joules is not None]
        return None if len(known) < len(ranges) else (sum(low for low, _ in known), sum(high for _, high in known))

    def json(self) -> dict[str, Any]:
        """The bill as JSON takes it."""
        prices = {term: dataclasses.asdict(price) for term, price in self.table.prices.items()}
        return {
            "reading": self.table.name,
            "process": self.table.process,
            "joules": self.total,
            "missing": self.missing,
            "lines": [dataclasses.asdict(line) for line in self.lines],
            "left_out": dict(self.table.left_out),
            "prices": prices,
        }


def bill(counts: Mapping[str, Mapping[str, float]], spiking: Collection[str], table: Table) -> Bill:
    """Charge ``counts`` (layer -> counter -> number); ``spiking``: the layers that are neurons. Raises BadInput."""
    lines = []
    for layer, counters in counts.items():
        kind = "spiking" if layer in spiking else "other"
        for counter, count in counters.items():
            if counter == SATURATIONS:  # a loss, not work
                continue
            if counter not in COUNTERS:
                raise BadInput(layer, f"{counter} is not a counter of the ledger: {', '.join(COUNTERS)}")
            terms = table.charges[kind].get(counter)
            if terms is None:
                excused = {counter, f"{kind}.{counter}"} & set(table.left_out)
                if count and not excused:
                    raise BadInput(
                        layer, f"counted {counter}, for which {table.name!r} neither charges nor says why not"
                    )
            elif count:
                lines.append(Line(layer, counter, count, terms, _joules(count, terms, table)))
    return Bill(table, tuple(lines))


def counted(run: Trace) -> dict[str, dict[str, float]]:
    """Events of one sample of a run, the mean over its samples: layer -> counter -> number. Raises BadInput."""
    if not run.events:
        raise BadInput("trace", "holds no events")
    return {
        layer: {counter: int(values.sum()) / len(values) for counter, values in counters.items()}
        for layer, counters in run.events.items()
    }


def _joules(count: float, terms: tuple[str, ...], table: Table) -> Range | None:
    ranges = [table.prices[term].picojoules for term in terms]
    known = [price for price in ranges if price is not None]
    if len(known) < len(ranges):
        return None
    return (count * sum(low for low, _ in known) * 1e-12, count * sum(high for _, high in known) * 1e-12)
