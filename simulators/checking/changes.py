"""The single rules by which a platform departs from NIR as written, and which of them explain its spikes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

import nir
import numpy as np

from convert.formats.nir.platforms.importers import IMPORTERS, Importer
from convert.formats.nir.reading.rules import Rules, leak
from simulators.checking.machine import Edit, Late, Machine
from simulators.checking.platforms import Platform


@dataclasses.dataclass(frozen=True)
class Change:
    """One rule changed. key: its short name; text: the change in words; apply: does it to a machine."""

    key: str
    text: str
    apply: Callable[[Machine], Machine]


def apply(machine: Machine, changes: Sequence[Change]) -> Machine:
    """``machine`` with all ``changes``."""
    for change in changes:
        machine = change.apply(machine)
    return machine


def departures(platform: Platform, reference: Rules, resets: Collection[str]) -> list[Change]:
    """Every rule in which ``platform`` departs from the reference, whose neurons reset by ``resets``.

    Changes that alter a node's parameters come last: they need the dt and the integration before them.
    """
    row = IMPORTERS[platform.importer] if platform.importer is not None else None
    machine = platform.machine(reference)
    dt, method = machine.rules.dt, row.integrate if row is not None else platform.integrate
    found = [FLOAT32] if machine.dtype == "float32" else []
    if dt != reference.dt:
        found.append(_rule("dt", f"dt is {dt:g} s, not {reference.dt:g} s", dt=dt))
    if method != reference.integrate:
        found.append(_rule("integration", INTEGRATION[method], integrate=method))
    if row is not None:
        if row.compare != reference.compare:
            found.append(_rule("comparison", COMPARISON[row.compare], compare=row.compare))
        theirs = "soft" if row.reset == "subtract" else "hard"
        if set(resets) - {theirs}:
            found.append(_rule("reset", RESET[theirs], reset=theirs))
        found += _edits(row)
    if row is not None and row.several:
        text = "sends several spikes in one step where u reaches twice the threshold"
        found.append(Change("several spikes", text, lambda before: dataclasses.replace(before, several=True)))
    if platform.late is not None:
        found.append(_delay(platform.late))
    return found


def rules_alone(reference: Rules, resets: Collection[str], cyclic: bool) -> list[Change]:
    """Every rule that platforms are known to change, one at a time."""
    other = "hard" if "soft" in resets else "soft"
    return [
        *(_rule("integration", INTEGRATION[method], integrate=method) for method in ("exponential", "impulse")),
        _rule("comparison", COMPARISON["ge"], compare="ge"),
        *([_rule("reset", RESET[other], reset=other)] if resets else []),
        FLOAT32,
        WITHOUT_R,
        _rule("dt", f"dt is {10 * reference.dt:g} s, not {reference.dt:g} s", dt=10 * reference.dt),
        *([] if cyclic else [_delay("synapse")]),
    ]


def explain(changes: list[Change], reproduces: Callable[[Sequence[Change]], bool]) -> list[list[Change]]:
    """The smallest sets of ``changes`` that make the platform's spikes of the reference's.

    Each single change that does so alone; where none does, one set from which no change can be left out; no set at all
    where all changes together don't do it.
    """
    alone = [[change] for change in changes if reproduces([change])]
    if alone or not changes or not reproduces(changes):
        return alone
    needed = list(changes)
    for change in changes:
        rest = [other for other in needed if other is not change]
        if reproduces(rest):
            needed = rest
    return [needed]


def _delay(late: Late) -> Change:
    text = f"each {late} answers one step later"
    return Change("delay", text, lambda before: dataclasses.replace(before, late=late))


def _rule(key: str, text: str, **rules: object) -> Change:
    def changed(machine: Machine) -> Machine:
        return dataclasses.replace(machine, rules=dataclasses.replace(machine.rules, **rules))  # type: ignore[arg-type]

    return Change(key, text, changed)


def _edit(key: str, text: str, edit: Callable[[Rules], Edit]) -> Change:
    """A change of the file's nodes; ``edit`` is told by which rules they will be run."""
    return Change(key, text, lambda before: dataclasses.replace(before, edits=(*before.edits, edit(before.rules))))


def _edits(row: Importer) -> list[Change]:
    found = []
    if row.unit_gain:
        found.append(_edit("gain", "takes the input as it is, not times R*dt/tau", _unit_gain))
    elif row.r == "ignored":
        found.append(WITHOUT_R)
    elif row.r == "folded":
        found.append(_edit("one gain", "scales all inputs of a layer by one neuron's R*dt/tau", _one_gain))
    if row.reset != "v_reset":
        found.append(_edit("v_reset", "resets to 0, not to v_reset", lambda rules: _reset_to_zero))
    return found


def _gain(node: nir.LIF, rules: Rules) -> np.ndarray:
    return leak(node.tau, np.ones_like(node.tau), node.v_leak, rules.integrate, rules.dt).gain


def _without_r(node: nir.NIRNode) -> None:
    if isinstance(node, nir.LIF):
        node.r = np.ones_like(node.r)


def _unit_gain(rules: Rules) -> Edit:
    def edit(node: nir.NIRNode) -> None:
        if isinstance(node, nir.LIF):
            node.r = 1 / _gain(node, rules)

    return edit


def _one_gain(rules: Rules) -> Edit:
    def edit(node: nir.NIRNode) -> None:
        if isinstance(node, nir.LIF):
            gain = _gain(node, rules)
            node.r = np.where(node.r * gain == (one := np.unique(node.r * gain)[0]), node.r, one / gain)

    return edit


def _reset_to_zero(node: nir.NIRNode) -> None:
    if isinstance(node, nir.LIF):
        node.v_reset = np.zeros_like(node.v_reset)


FLOAT32 = Change("float32", "rounds to float32", lambda before: dataclasses.replace(before, dtype="float32"))
WITHOUT_R = _edit("R", "ignores R", lambda rules: _without_r)
INTEGRATION = {
    "exponential": "solves exactly between steps, not by forward Euler",
    "impulse": "takes each input as an impulse (exp(-dt/tau) decay, no Euler step)",
    "euler": "forward Euler",
}
COMPARISON = {"ge": "fires at the threshold (>=), not only above", "gt": "fires only above the threshold (>)"}
RESET = {"hard": "resets to a value, not by subtraction", "soft": "resets by subtraction, not to a value"}
