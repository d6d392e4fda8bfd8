"""What published importers make of a file's neurons, read from their code (versions in the table)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

import nir
import numpy as np

from convert.formats.nir.reading.rules import Leak, leak
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, UNBOUNDED, LeakyIntegrator, MultiSpikeIF, MultiSpikeLIF
from spikestrip.operations.neurons import Comparison

SYNAPSES = ("Affine", "Linear")
FRAMES = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")  # not Flatten: snnTorch counts the batch as its first axis


@dataclasses.dataclass(frozen=True)
class Importer:
    """One row: how an importer reads a graph (docs/nir-importers.md is what the real ones did).

    dt: None where it is an argument. r: "ignored" (taken as 1; with ``unit_gain`` the input isn't scaled by dt/tau
    either), "folded" into the threshold, "checked" (must make the input's factor 1, or be 1).
    takes: the node types that it runs as NIR says. apart: those that it runs otherwise, or that are not modelled here,
    and how. unknown: what it does at all others. uniform: parameters that must be one number for a layer.
    cycles: what it makes of them where not what NIR says; "" where one neuron in a cycle runs. joins: False where nodes
    that add streams may run before what feeds them. starts_at: the parameter that is the first potential; "" is 0.
    several: sends trunc(v/v_threshold) spikes in a step, subtracting each. one_axis: stops at an LI or LIF of several
    axes.
    """

    version: str
    integrate: Literal["euler", "exponential"]
    dt: float | None
    r: Literal["ignored", "folded", "checked"]
    reset: Literal["zero", "v_reset", "subtract"]
    compare: Comparison
    takes: tuple[str, ...]
    apart: Mapping[str, str]
    unknown: Literal["drops without a word", "stops at", "is not known to run"]
    cycles: str = ""
    joins: bool = True
    unit_gain: bool = False
    uniform: tuple[str, ...] = ()
    one_axis: bool = False
    leaks_to_zero: bool = False
    starts_at: Literal["", "v_leak", "v_reset"] = ""
    several: bool = False


BATCH = "changes: it counts the batch as the first axis"
UNMODELLED = "runs by equations that are not modelled here"
IMPORTERS = {
    "snntorch": Importer(
        *("1.0.0", "euler", 1e-4, "folded", "zero", "gt", (*SYNAPSES, *FRAMES, "LIF")),
        {
            "IF": "changes: it makes Leaky(0.9, subtract) of r = 1 and stops at any other r",
            "CubaLIF": UNMODELLED,
            "Flatten": BATCH,
        },
        "stops at",
        cycles="stops where an Affine or Linear feeds an LIF back; other cycles are not modelled here",
        uniform=("v_threshold",),
        leaks_to_zero=True,
    ),
    "norse": Importer(
        *("1.1.0", "euler", None, "ignored", "zero", "gt", (*SYNAPSES, "Conv2d", "SumPool2d", "LIF")),
        {"IF": "changes: it leaves r and dt out", "CubaLIF": UNMODELLED, "Flatten": BATCH},
        "drops without a word",
        joins=False,
        starts_at="v_leak",
    ),
    "spikingjelly": Importer(
        *("2.0.0", "euler", 1e-4, "checked", "v_reset", "ge", (*SYNAPSES, *FRAMES, "Flatten", "LIF")),
        {"IF": UNMODELLED, "CubaLIF": UNMODELLED},
        "stops at",
        uniform=("tau", "r", "v_leak", "v_threshold", "v_reset"),
        starts_at="v_reset",
    ),
    "sinabs": Importer(
        *("3.1.3", "exponential", 1.0, "ignored", "subtract", "ge"),
        ("Affine", "Conv2d", "SumPool2d", "Flatten", "LIF", "LI", "IF"),
        {
            "Conv1d": "stops at",
        },
        "drops without a word",
        cycles="changes: it runs whole sequences at once, so that no step's value is fed back",
        joins=False,
        unit_gain=True,
        one_axis=True,
        leaks_to_zero=True,
        several=True,
    ),
    "lava": Importer(
        *("NIR's example", "euler", 1e-4, "ignored", "zero", "gt", (*SYNAPSES, "LIF")),
        {},
        "is not known to run",
        cycles="is not known to run",
    ),
}


def importer(name: str) -> Importer:
    """The row called ``name``, or BadInput."""
    if name not in IMPORTERS:
        raise BadInput("--integrate", f"no importer {name!r} is known; there are {', '.join(IMPORTERS)}")
    return IMPORTERS[name]


def refusal(name: str, kind: str) -> str | None:
    """Why the importer ``name`` gives no answer to nodes of this ``kind``; None where it runs them as NIR says."""
    row = importer(name)
    return None if kind in row.takes else f"is a {kind}, which {name} {row.apart.get(kind, row.unknown)}"


def lif(row: Importer, node: nir.LIF, dt: float) -> LIF | MultiSpikeLIF:
    """The neuron that an importer makes of an LIF node. Raises BadInput where it would stop."""
    dt = dt if row.dt is None else row.dt
    _check(row, node, dt)
    one = np.ones_like(node.tau, np.float64)
    result = leak(node.tau, node.r if row.r == "folded" else one, node.v_leak, row.integrate, dt)
    threshold = np.asarray(node.v_threshold, np.float64)
    if row.r == "folded":
        threshold = threshold / np.unique(result.gain)[0]
        result = Leak(result.decay, one, result.bias)
    elif row.r == "checked" and not _close(node.r, 1):
        result = Leak(result.decay, one, result.bias)
    if row.unit_gain:
        result = Leak(result.decay, one, result.bias)
    if row.several:
        return MultiSpikeLIF(threshold, np.full(threshold.shape, UNBOUNDED), _alpha(node.tau))
    return LIF(
        result.decay,
        threshold,
        v_reset=np.asarray(node.v_reset, np.float64) if row.reset == "v_reset" and np.any(node.v_reset) else None,
        gain=None if (result.gain == 1).all() else result.gain,
        bias=result.bias if result.bias.any() else None,
        reset_kind="soft" if row.reset == "subtract" else "hard",
        comparison=row.compare,
    )


def li(row: Importer, node: nir.LI) -> LeakyIntegrator:
    """The integrator that an importer makes of an LI node. Raises BadInput where it would stop.

    The one importer that takes it, Sinabs, takes tau in steps: v = exp(-1/tau)*v + I.
    """
    if row.one_axis and np.ndim(node.tau) > 1:
        raise BadInput("parameters", "have several axes, which this importer stops at")
    for field, expected in (("v_leak", 0.0), ("r", 1.0)):
        if np.any(np.asarray(getattr(node, field)) != expected):
            raise BadInput(field, f"is not {expected:g}, which this importer stops at")
    return LeakyIntegrator(_alpha(node.tau))


def iaf(node: nir.IF) -> MultiSpikeIF:
    """The neuron that Sinabs, the one importer that takes it, makes of an IF node, of several axes too: several spikes
    in one step, and a floor at minus the threshold; r and v_reset are left out."""
    threshold = np.asarray(node.v_threshold, np.float64)
    return MultiSpikeIF(threshold, -threshold)


def _alpha(tau: np.ndarray) -> np.ndarray:
    """The decay that Sinabs takes: exp(-1/tau), both in float32, whatever the file holds."""
    rate: np.ndarray = -1 / np.asarray(tau, np.float32)
    return np.exp(rate.astype(np.float64)).astype(np.float32).astype(np.float64)


def wiring(name: str, paths: Mapping[str, str], edges: Iterable[tuple[str, str, bool]]) -> tuple[str, str] | None:
    """(node, reason) where an importer is known to run these edges otherwise than NIR says, or may; else None.

    paths: layer -> its path in the file; edges: (source, target, delayed).
    """
    row, back = importer(name), []
    entered: dict[str, list[str]] = {}
    for source, target, delayed in edges:
        if delayed:
            back.append(target)
        else:
            entered.setdefault(target, []).append(source)
    if back and row.cycles:
        return paths[back[0]], f"stands in a cycle, which {name} {row.cycles}"
    if not row.joins:
        for target, sources in entered.items():
            if len(sources) > 1:
                return paths[target], f"adds streams, and {name} may run it before what feeds it"
    return None


def _check(row: Importer, node: nir.LIF, dt: float) -> None:
    """Raises BadInput(parameter, reason) where the importer stops at ``node``, or starts it as no program can."""
    if row.one_axis and np.ndim(node.tau) > 1:
        raise BadInput("parameters", "have several axes, which this importer stops at")
    if row.leaks_to_zero and np.any(node.v_leak):
        raise BadInput("v_leak", "is not 0, which this importer stops at")
    for field in row.uniform:
        if np.unique(getattr(node, field)).size > 1:
            raise BadInput(field, "differs between neurons, which this importer stops at")
    if row.r == "checked":
        if np.any(np.asarray(node.tau) <= dt):
            raise BadInput("tau", "is not longer than dt, which this importer stops at")
        if not (_close(node.r, 1) or _close(node.r, np.asarray(node.tau) / dt)):
            raise BadInput("r", "is neither 1 nor tau/dt, which this importer stops at")
        if not _close(node.v_leak, node.v_reset):
            raise BadInput("v_leak", "is not v_reset, which this importer stops at")
    if row.starts_at and np.any(getattr(node, row.starts_at)):
        raise BadInput(row.starts_at, "is not 0, and this importer starts there, where a program starts at 0")


def _close(value: np.ndarray, expected: np.ndarray | float) -> bool:
    return bool(np.isclose(value, expected, rtol=1e-6, atol=1e-12).all())
