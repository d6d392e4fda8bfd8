"""The platforms that a graph is checked on, each by the rule that its importer or its published trace shows."""

from __future__ import annotations

import dataclasses
from typing import Literal

import nir

from convert.formats.nir.platforms import importers
from convert.formats.nir.platforms.importers import IMPORTERS
from convert.formats.nir.reading.loading import Loaded
from convert.formats.nir.reading.rules import IMPORTER, Rules
from convert.formats.nir.reading.structure import STATEFUL, Flat
from simulators.checking.machine import Late, Machine

FLOAT64 = ("lava",)
NORSE_DT = 1e-3
Obstacle = tuple[Literal["refused", "unknown"], str]


@dataclasses.dataclass(frozen=True)
class Platform:
    """source: what the rule was read from. importer: its row in the reader's table, or None.

    integrate and late hold where there is no importer; dt: None takes the reference's.
    """

    name: str
    source: str
    importer: str | None = None
    integrate: str = "euler"
    dt: float | None = None
    late: Late = None

    def machine(self, reference: Rules) -> Machine:
        """How this platform runs a graph whose reference is run by ``reference``."""
        dt = self.dt or reference.dt
        if self.importer is None:
            return Machine(dataclasses.replace(reference, dt=dt, integrate=self.integrate), late=self.late)
        row = IMPORTERS[self.importer]
        rules = Rules(dt=row.dt or dt, integrate=f"{IMPORTER}{self.importer}")
        return Machine(rules, "float64" if self.importer in FLOAT64 else "float32", self.late)

    def obstacle(self, loaded: Loaded, flat: Flat, cyclic: str | None) -> Obstacle | None:
        """Why there is no answer to this graph here, by node; None where there may be. ``flat``: it without
        nesting; ``cyclic``: a node in a cycle.

        "refused": the platform can't run it; "unknown": what it would do isn't known.
        """
        leaves = _leaves(loaded.graph)
        for name, node in leaves:
            if isinstance(node, nir.NIRGraph):
                operation = node.metadata["spikestrip_op"]
                return "refused", f"node {name} is a nested graph ({operation}), which no stock importer holds"
        if self.name == DEFAULTS:
            return _not_by_default(leaves)
        if self.importer is not None:
            return _by_importer(self.importer, flat, leaves, cyclic)
        if cyclic is not None:
            return "unknown", f"node {cyclic} stands in a cycle; published is a chain of Affine and LIF alone"
        for name, node in leaves:
            if not isinstance(node, nir.Affine | nir.Linear | nir.LIF | nir.Input | nir.Output):
                return "unknown", f"node {name} is a {type(node).__name__}; published is Affine and LIF alone"
        return None

    def hint(self, reason: str) -> str:
        """What to do where the platform refuses for ``reason``."""
        return next((text for sign, text in HINTS.items() if sign in reason), "")


def _leaves(graph: nir.NIRGraph, path: str = "") -> list[tuple[str, nir.NIRNode]]:
    """Nodes by path, nested graphs opened; one that is an operation of ours stays whole."""
    found: list[tuple[str, nir.NIRNode]] = []
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph) and "spikestrip_op" not in node.metadata:
            found += _leaves(node, f"{path}{name}/")
        else:
            found.append((path + name, node))
    return found


def _by_importer(name: str, flat: Flat, leaves: list[tuple[str, nir.NIRNode]], cyclic: str | None) -> Obstacle | None:
    """What an importer drops, changes or stops at: which of the three stands in the reason."""
    row = IMPORTERS[name]
    for path, node in leaves:
        reason = importers.refusal(name, type(node).__name__)
        if reason is not None and not isinstance(node, nir.Input | nir.Output):
            known = "not modelled" not in reason and "not known" not in reason
            return ("refused" if known else "unknown"), f"node {path} {reason}"
    otherwise = importers.wiring(name, flat.paths, flat.edges)
    if otherwise is not None:
        known = row.cycles.startswith("changes") and "cycle" in otherwise[1]
        return ("refused" if known else "unknown"), f"node {otherwise[0]} {otherwise[1]}"
    if cyclic is not None and any(remark.startswith("ambiguous") for remark in flat.remarks):
        return "unknown", f"node {cyclic} stands in a cycle of which {name} may delay another edge"
    return None


def _not_by_default(leaves: list[tuple[str, nir.NIRNode]]) -> Obstacle:
    for name, node in leaves:
        if isinstance(node, nir.Affine):
            return "refused", f"node {name}: the bias of an Affine is dropped, and a randomised one left in its place"
    for name, node in leaves:
        if isinstance(node, STATEFUL):
            return "refused", f"node {name}: a {type(node).__name__} and its state are left to a map of yours"
    return "unknown", "the graph has no neuron, and what these maps make of the rest isn't modelled here"


HINTS = {
    "is a Linear": "write it as an Affine with a bias of zeros",
    "is a Scale": "multiply it into the weights beside it",
    "is a nested graph": "run it here (simulate), or by an interpreter of standard nodes",
    "bias of an Affine": "pass a map of your own for nir.Affine",
    "a map of yours": "pass a map of your own",
}
DEFAULTS = "nirtorch defaults"
PAPER = "a trace"
PLATFORMS = (
    Platform("snntorch", IMPORTERS["snntorch"].version, "snntorch"),
    Platform("norse", IMPORTERS["norse"].version, "norse"),
    Platform("norse (no dt given)", IMPORTERS["norse"].version, "norse", dt=NORSE_DT),
    Platform("spikingjelly", IMPORTERS["spikingjelly"].version, "spikingjelly"),
    Platform("sinabs", IMPORTERS["sinabs"].version, "sinabs"),
    Platform("lava (float)", IMPORTERS["lava"].version, "lava", late="synapse"),
    Platform(DEFAULTS, "2.6"),
    Platform("nengo", PAPER, integrate="exponential"),
    Platform("spinnaker2", PAPER),
    Platform("loihi", PAPER, late="synapse"),
    Platform("spyx", PAPER, late="neuron"),
    Platform("rockpool", PAPER, integrate="impulse"),
    Platform("sinabs of 2023", PAPER, integrate="impulse"),
)
