"""One side of a comparison: a trace, and what its attributes declare about it."""

from __future__ import annotations

import copy

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.program import Program
from spikestrip.trace import Trace

# Half a unit in the last place, relative: what one operation in this dtype can be wrong by.
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


class Side:
    """One of the two traces, and what its attributes declare about it.

    ``form`` "parallel": whole sequences at once, by ``parallel`` (scan, block, sdn, pmbc, ...); else step by step.
    A parallel sdn may be wrong anywhere (surrogate), a pmbc of a fixed number of ``iterations`` too (undecided). A
    trace that names in ``quantised_from`` the program that it stands for may differ from that where its ``own`` program
    does (quantisation; saturation where a potential passed ``saturates_at``); without its own it is excused nothing.
    """

    def __init__(self, role: str, trace: Trace, own: Program | None = None) -> None:
        attrs = trace.attrs
        self.role = role
        self.trace = trace
        self.own = own
        self.form = str(attrs.get("form", "iterative"))
        self.parallel = str(attrs.get("parallel", "")) if self.form == "parallel" else ""
        self.dtype = str(attrs.get("dtype", ""))
        self.unit = UNIT.get(self.dtype)
        self.quantised_from = str(attrs.get("quantised_from", ""))
        rounds = attrs.get("iterations")
        if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1):
            raise BadInput(role, f"its iterations are {rounds!r}, not a number of at least 1")
        limit = attrs.get("saturates_at") if self.quantised_from else None
        if limit is not None and not isinstance(limit, int | float):
            raise BadInput(role, f"its saturates_at is {limit!r}, not a number")
        self.saturates_at = None if limit is None else float(limit)
        if self.form not in ("iterative", "parallel"):
            raise BadInput(role, f"its form is {self.form!r}, neither iterative nor parallel")

    def itself(self) -> Side:
        """The side as one that stands for nothing but what it ran."""
        alone = copy.copy(self)
        alone.own, alone.quantised_from, alone.saturates_at = None, "", None
        return alone

    @property
    def trains(self) -> dict[str, np.ndarray]:
        """What every layer of neurons sent, as recorded: spikes, and numbers of spikes."""
        return self.trace.spikes | self.trace.numbers

    @property
    def undeclared(self) -> bool:
        """True when it says that it ran another program than it stands for, and that one isn't at hand."""
        return bool(self.quantised_from) and self.own is None

    @property
    def advice(self) -> str:
        """What to give, where a declaration lacks its program."""
        if self.parallel in ("sdn", "pmbc"):
            return f"{self.parallel} decides otherwise than the neuron, and only it can say where: give --checkpoint"
        return f"it says that it ran another program than it stands for: give --{self.role}-program"

    @property
    def program_sha256(self) -> str:
        """The program that this trace stands for."""
        sha = self.quantised_from or self.trace.attrs.get("program_sha256")
        if not sha:
            raise BadInput(self.role, "doesn't say which program it ran (no program_sha256)")
        return str(sha)

    @property
    def declared(self) -> str | None:
        """The cause that excuses a decision of this side that no rounding explains, or None."""
        if self.parallel == "sdn":
            return "surrogate"
        if self.parallel == "pmbc" and self.trace.attrs.get("iterations"):
            return "undecided"
        return "quantisation" if self.own is not None else None

    def describe(self) -> dict[str, object]:
        """What the verdict says about this side."""
        names = ("backend", "device", "dtype", "form", "parallel", "iterations", "quantised_from", "seconds")
        return {name: self.trace.attrs[name] for name in names if name in self.trace.attrs}
