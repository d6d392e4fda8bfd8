"""The one small interface of every backend, and how one is found by its name."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Literal, Protocol

import numpy as np

from spikestrip.errors import BadInput, Refused
from spikestrip.program import Layer, Program

Dtype = Literal["float32", "float64"]
Progress = Callable[[int], object]


@dataclasses.dataclass
class Recording:
    """What a backend saw, aligned: index t is the answer to input t.

    A spike is 0 or 1. A machine that sends several spikes in a step, or graded ones, refuses the layer: a recording of
    anything else is a SimulatorFault.

    output: the output layer's stream, (B, T, *shape); spikes: layer -> (B, T, N) uint8 for every spiking layer;
    observed: layer -> counter -> (B, T) int64, what the simulator counted itself; attrs: remarks for the trace
    (``delay``: steps of pipeline delay that were shifted back); states: layer -> state -> (B, *shape) after the last
    step, where the machine shows them; numbers: layer -> how many spikes each neuron sent, (B, T, N) int32, for layers
    that send several in a step, where the machine shows them; events: all that ``spikestrip.ledger`` counts, if the
    backend had it count (``ledger.count_piece``) its own streams in float64; else the ledger replays the program.
    """

    output: np.ndarray
    spikes: dict[str, np.ndarray]
    observed: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    attrs: dict[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    states: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    events: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)


class Backend(Protocol):
    """A machine that runs programs. One instance is made without arguments and may be used again.

    name: as in its entry point; devices: those that it has, "cpu" first.
    It may have a method ``refuses_program(program, dtype) -> str | None`` too: why it can't hold the whole, though it
    could hold each layer (cores, memory, fan-out), or None.
    """

    name: str
    devices: tuple[str, ...]

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        """Why ``layer`` can't be held exactly in ``dtype``, or None when it can."""
        ...

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        """Run ``program`` on x (B, T, *input_shape); call ``progress(n)`` after every n steps done."""
        ...


@cache
def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Asked for once: it reads every installed package, which takes longer than a short run."""
    return tuple(metadata.entry_points(group=group))


def names() -> list[str]:
    """The backends that are installed, by name."""
    return sorted(entry.name for entry in entry_points(group="spikestrip.backends"))


def load(name: str, **options: str) -> Backend:
    """The backend called ``name``, made with ``options``.

    BadInput when there is none, when it has no such option, or when what it needs is not installed.
    """
    found = [entry for entry in entry_points(group="spikestrip.backends") if entry.name == name]
    if not found:
        raise BadInput(f"backend {name}", f"is not known; there are {', '.join(names())}")
    try:
        make = found[0].load()
        unknown = set(options) - set(inspect.signature(make).parameters)
        if unknown:
            raise BadInput(f"backend {name}", f"has no option {', '.join(sorted(unknown))}")
        return make(**options)
    except ImportError as error:
        raise BadInput(f"backend {name}", f"can't be loaded here: {error}") from error


def check(backend: Backend, program: Program, dtype: Dtype, device: str) -> None:
    """Raise Refused, naming the first layer that ``backend`` can't hold, or why not the whole, before anything runs."""
    if device.split(":")[0] not in backend.devices:
        raise Refused(f"backend {backend.name}", f"has no device {device!r}; it runs on {', '.join(backend.devices)}")
    for layer in program.layers:
        held = layer.operation.dtypes
        reason = backend.refuses(program, layer, dtype)
        if dtype not in held:
            reason = f"can't be held exactly in {dtype}; run it in {' or '.join(held)}"
        if reason is not None:
            raise Refused(f"backend {backend.name}, layer {layer.name} ({layer.operation.kind})", reason)
    refuses_program = getattr(backend, "refuses_program", None)
    reason = None if refuses_program is None else refuses_program(program, dtype)
    if reason is not None:
        raise Refused(f"backend {backend.name}", f"can't hold the program: {reason}")
