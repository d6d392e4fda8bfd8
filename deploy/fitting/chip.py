"""A chip as data: limits, each with its source and date. An unknown limit has no value, and is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikestrip.errors import BadInput
from spikestrip.files import read_toml

CHIPS = Path(__file__).parent.parent / "chips"
FAMILIES = {
    "loihi2": (
        *("cores_usable", "cores_die", "neurons_core", "synaptic_memory_core", "neuron_memory_core"),
        *("weight_bits", "state_bits", "decay_bits", "threshold_bits", "coefficient_bits"),
    ),
    "speck": (
        *("cores", "kernel_memory", "neuron_memory", "input_size", "map_size", "channels", "kernel_size"),
        *("strides", "padding", "pooling", "fan_out", "classes"),
    ),
}
"""The limits without which nothing can be said of a chip of each family."""
LISTS = ("kernel_memory", "neuron_memory", "strides", "pooling")
"""Those of them that are lists."""
STEP_TIME = ("barrier", "neuron_update", "synaptic_operation", "message")


@dataclasses.dataclass(frozen=True)
class Limit:
    """A number of a chip (or a list, one for each core or allowed size), or None where it isn't known."""

    value: int | float | list[int] | None
    unit: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True)
class Chip:
    """limits: by name; step_time: seconds of a step's terms, all of ``STEP_TIME`` for chips of the family loihi2."""

    name: str
    family: str
    limits: Mapping[str, Limit]
    step_time: Mapping[str, Limit]

    def number(self, name: str) -> int:
        """A limit that is one number."""
        return int(self.limits[name].value)  # type: ignore[arg-type]  # read() has made sure

    def numbers(self, name: str) -> list[int]:
        """A limit that is a list."""
        return list(self.limits[name].value)  # type: ignore[arg-type]  # read() has made sure

    def unknown(self) -> list[str]:
        """What isn't known of the chip, in words."""
        tables = (("", self.limits), ("step time: ", self.step_time))
        return [
            f"{prefix}{name.replace('_', ' ')} ({limit.source})"
            for prefix, table in tables
            for name, limit in table.items()
            if limit.value is None
        ]


def names() -> list[str]:
    """The chips that come with Spikestrip."""
    return sorted(path.stem for path in CHIPS.glob("*.toml"))


def read(name: str) -> Chip:
    """The chip called ``name``, or the one in the TOML file of that path. Raises BadInput."""
    path = CHIPS / f"{name}.toml"
    if name not in names():
        if not name.endswith(".toml"):
            raise BadInput("--chip", f"{name!r} is not one of {', '.join(names())}, nor a .toml file")
        path = Path(name)
    return _chip(path, read_toml(path))


def _chip(path: Path, table: dict[str, Any]) -> Chip:
    family = str(table.get("family"))
    if family not in FAMILIES or not isinstance(table.get("name"), str):
        raise BadInput(path, f"needs a name and a family: {', '.join(FAMILIES)}")
    limits = _limits(path, "limits", table.get("limits"))
    for name in FAMILIES[family]:
        if name not in limits or limits[name].value is None:
            raise BadInput(path, f"limits.{name} has no value, and nothing can be said without it")
        whole = all(isinstance(number, int) for number in _list(limits[name]))
        if not whole or isinstance(limits[name].value, list) != (name in LISTS):
            wanted = "a list of whole numbers" if name in LISTS else "a whole number"
            raise BadInput(path, f"limits.{name} is {limits[name].value!r}, not {wanted}")
        if family == "loihi2" and limits[name].value == 0:
            raise BadInput(path, f"limits.{name} is 0: nothing fits on such a chip")
    per_core = [limit for name, limit in limits.items() if name in ("kernel_memory", "neuron_memory")]
    if family == "speck" and any(len(_list(limit)) != limits["cores"].value for limit in per_core):
        raise BadInput(path, "kernel_memory and neuron_memory need one number for each core")
    step_time = _limits(path, "step_time", table.get("step_time", {}))
    if family == "loihi2" and set(step_time) != set(STEP_TIME):
        raise BadInput(path, f"step_time needs {', '.join(STEP_TIME)}, with or without a value")
    return Chip(table["name"], family, limits, step_time)


def _limits(path: Path, section: str, table: object) -> dict[str, Limit]:
    if not isinstance(table, dict):
        raise BadInput(path, f"has no table [{section}]")
    found = {}
    for name, entry in table.items():
        where = f"{section}.{name}"
        if not isinstance(entry, dict) or not set(entry) <= {"value", "unit", "source", "date"}:
            raise BadInput(path, f"{where} is not a table of value, unit, source and date")
        if not all(isinstance(entry.get(field), str) and entry[field] for field in ("source", "date")):
            raise BadInput(path, f"{where} needs a source and a date")
        value = entry.get("value")
        for number in _list(value):
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 2**63:
                raise BadInput(path, f"{where}: {number!r} is not a number from 0 up")
        found[name] = Limit(value, str(entry.get("unit", "")), entry["source"], entry["date"])
    return found


def _list(value: object) -> list[Any]:
    value = value.value if isinstance(value, Limit) else value
    return [] if value is None else value if isinstance(value, list) else [value]
