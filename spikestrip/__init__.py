"""Spikestrip strips networks trained in parallel back to iterative spiking neurons, and proves what that did.

    import spikestrip as ss
    program = ss.load("model.nir")
    a, b = ss.simulate(program, x), ss.simulate(program, x, "onnxruntime", dtype="float32")
    ss.verify(a, b, program)

The names of the upper floors are loaded when they are used (PEP 562), and named as strings: the one exception, with
``spikestrip.aliases``, to the rule that each floor knows only those below it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikestrip import aliases
from spikestrip.errors import BadInput, Refused, SimulatorFault, SpikestripError

if TYPE_CHECKING:
    from spikestrip.program import Layer, Program, chain
    from spikestrip.trace import Trace, read

__version__ = "0.1.0"
aliases.install()

_LAZY = {
    "Layer": "spikestrip.program",
    "Program": "spikestrip.program",
    "chain": "spikestrip.program",
    "Trace": "spikestrip.trace",
    "read": "spikestrip.trace",
    "load": "convert.load",
    "save": "convert.load",
    "from_torch": "convert",
    "nn": "train.nn",
    "simulate": "simulators.run",
    "to_lava": "simulators.backends.lava.stock",
    "verify": "deploy.verify",
    "certify": "deploy.certify",
    "raster": "deploy.reporting.plots",
    "to_sinabs": "simulators.backends.sinabs",
}

__all__ = [
    "BadInput",
    "Layer",
    "Program",
    "Refused",
    "SimulatorFault",
    "SpikestripError",
    "Trace",
    "chain",
    "read",
    *("load", "save", "from_torch", "simulate", "verify", "certify", "raster", "to_lava", "to_sinabs"),
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = import_module(_LAZY[name]) if name == "nn" else getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
