"""What published importers make of a file's neurons, read from their code (versions in the table)."""

from __future__ import annotations

import dataclasses
from typing import Literal

import nir
import numpy as np

from convert.formats.nir.reading.rules import Leak, leak
from spikestrip.errors import BadInput
from spikestrip.operations import LIF
from spikestrip.operations.neurons import Comparison

SYNAPSES = ("Affine", "Linear")
FRAMES = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")  # not Flatten: snnTorch counts the batch as its first axis


@dataclasses.dataclass(frozen=True)
class Importer:
    """One row: how an importer reads a neuron.

    dt: None where it is an argument. r: "ignored" (taken as 1; with ``unit_gain`` the input isn't scaled by dt/tau
    either), "folded" into the threshold, "checked" (must make the input's factor 1, or be 1).
    takes: the node types that it runs as NIR says; others it drops, renames, or stops at.
    """

    version: str
    integrate: Literal["euler", "exponential"]
    dt: float | None
    r: Literal["ignored", "folded", "checked"]
    reset: Literal["zero", "v_reset", "subtract"]
    compare: Comparison
    takes: tuple[str, ...]
    unit_gain: bool = False
    one_threshold: bool = False
    leaks_to_zero: bool = False
    remark: str = ""


IMPORTERS = {
    "snntorch": Importer(
        *("1.0.0", "euler", 1e-4, "folded", "zero", "gt", (*SYNAPSES, *FRAMES, "LIF")),
        one_threshold=True,
        leaks_to_zero=True,
    ),
    "norse": Importer("1.1.0", "euler", None, "ignored", "zero", "gt", (*SYNAPSES, "LIF")),
    "spikingjelly": Importer("2.0.0", "euler", 1e-4, "checked", "v_reset", "ge", (*SYNAPSES, "LIF")),
    "sinabs": Importer(
        *(
            "3.1.3",
            "exponential",
            1.0,
            "ignored",
            "subtract",
            "ge",
            ("Affine", "Conv2d", "SumPool2d", "Flatten", "LIF"),
        ),
        unit_gain=True,
        leaks_to_zero=True,
        remark="Sinabs sends several spikes in one step where v >= 2*v_threshold; here it is one",
    ),
    "lava": Importer("NIR's example", "euler", 1e-4, "ignored", "zero", "gt", (*SYNAPSES, "LIF")),
}


def importer(name: str) -> Importer:
    """The row called ``name``, or BadInput."""
    if name not in IMPORTERS:
        raise BadInput("--integrate", f"no importer {name!r} is known; there are {', '.join(IMPORTERS)}")
    return IMPORTERS[name]


def lif(row: Importer, node: nir.LIF, dt: float) -> LIF:
    """The neuron that an importer makes of an LIF node. Raises BadInput where it would stop."""
    dt = dt if row.dt is None else row.dt
    if row.leaks_to_zero and np.any(node.v_leak):
        raise BadInput("v_leak", "is not 0, which this importer refuses")
    if row.one_threshold and np.unique(node.v_threshold).size > 1:
        raise BadInput("v_threshold", "differs between neurons, which this importer refuses")
    one = np.ones_like(node.tau, np.float64)
    result = leak(node.tau, node.r if row.r == "folded" else one, node.v_leak, row.integrate, dt)
    threshold = np.asarray(node.v_threshold, np.float64)
    if row.r == "folded":
        threshold = threshold / np.unique(result.gain)[0]
        result = Leak(result.decay, one, result.bias)
    elif row.r == "checked":
        factor = leak(node.tau, node.r, node.v_leak, row.integrate, dt).gain
        if np.allclose(factor, 1):
            result = Leak(result.decay, one, result.bias)
        elif not np.allclose(node.r, 1):
            raise BadInput("r", "is neither 1 nor tau/dt, which this importer refuses")
    if row.unit_gain:
        result = Leak(result.decay, one, result.bias)
    return LIF(
        result.decay,
        threshold,
        v_reset=np.asarray(node.v_reset, np.float64) if row.reset == "v_reset" and np.any(node.v_reset) else None,
        gain=None if (result.gain == 1).all() else result.gain,
        bias=result.bias if result.bias.any() else None,
        reset_kind="soft" if row.reset == "subtract" else "hard",
        comparison=row.compare,
    )
