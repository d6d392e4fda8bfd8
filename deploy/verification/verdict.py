"""The verdict: what differs, why, where first, and whether that may be."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.verification import differences
from deploy.verification.causes import CAUSES, CODE, FAULTS
from deploy.verification.differences import Differences
from deploy.verification.differing import Compared
from spikestrip.files import write_text

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(repr=False)
class Verdict:
    """What ``verify`` found. The causes of all layers add up to the number of differing spikes (or numbers of spikes).

    layers: layer -> {"decisions", "spikes", "reference_spikes", "differ", "causes", "first"}
    first: the earliest difference in order of execution, or None
    contradictions: side -> cause -> decisions that contradict the program, whether or not the two sides differ there
    output: {"max_abs", "argmax_differ", "fault": why the outputs can't be right, or None}
    events: side -> "equal", "absent", "not compared" or what is wrong with the stored ones
    rounding: the bound that was used: what it is, its size for each side and layer, the furthest decision it excused
    failures: why the verdict is fail, one sentence each; notes: what else should be known
    differences: layer -> each of them with its cause; not in verdict.json, but in a table beside it
    """

    layers: dict[str, dict[str, Any]]
    first: dict[str, Any] | None
    contradictions: dict[str, dict[str, int]]
    output: dict[str, Any]
    events: dict[str, str]
    rounding: dict[str, Any]
    sides: dict[str, dict[str, Any]]
    failures: list[str]
    notes: list[str]
    differences: dict[str, Differences] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        causes = "".join(f", {cause} {spikes:,}" for cause, spikes in self.causes.items())
        return f"<Verdict {'pass' if self.passed else 'fail'}: {self.differ:,} spikes differ{causes}>"

    def __str__(self) -> str:
        """Its table, as a terminal shows it."""
        return self._shown().export_text(styles=False)

    def _repr_html_(self) -> str:
        return self._shown().export_html(inline_styles=True, code_format="<pre>{code}</pre>")

    def _shown(self) -> Console:
        from rich.console import Console

        from deploy.verification import table

        console = Console(record=True, file=io.StringIO(), width=120, markup=False, emoji=False)
        table.show(self, console)
        return console

    @property
    def passed(self) -> bool:
        """True for the verdict "pass": nothing failed."""
        return not self.failures

    @property
    def causes(self) -> dict[str, int]:
        """Cause -> differing spikes, over all layers, gravest last."""
        sums = {cause: sum(layer["causes"].get(cause, 0) for layer in self.layers.values()) for cause in CAUSES}
        return {cause: number for cause, number in sums.items() if number}

    @property
    def differ(self) -> int:
        """Spikes that differ, over all layers."""
        return sum(layer["differ"] for layer in self.layers.values())

    def to_dict(self) -> dict[str, Any]:
        """As in ``verdict.json``."""
        return {
            "verdict": "pass" if self.passed else "fail",
            "differ": self.differ,
            "causes": self.causes,
            "faults": [cause for cause in self.causes if cause in FAULTS],
            **{
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(self)
                if field.name != "differences"
            },
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write ``verdict.json``, and the table of its differences beside it: each whole, or not at all."""
        differences.write(differences.beside(path), self.differences)
        write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")


def layer_entry(name: str, compared: Compared, codes: np.ndarray) -> dict[str, Any]:
    """A layer's part of the verdict. codes: of the differences, in the order of their keys."""
    counts = np.bincount(codes, minlength=len(CAUSES))
    first = None
    if codes.size:
        sample, step, neuron = compared.places
        at = np.lexsort((neuron, sample, step))[0]
        first = {
            "layer": name,
            "sample": int(sample[at]),
            "step": int(step[at]),
            "neuron": int(neuron[at]),
            "cause": CAUSES[codes[at]],
            "spike": int(compared.fired[at]),
            "reference_spike": int(compared.others[at]),
        }
    return {
        "decisions": math.prod(compared.shape),
        "spikes": compared.spikes,
        "reference_spikes": compared.reference_spikes,
        "differ": int(codes.size),
        "causes": {cause: int(counts[code]) for cause, code in CODE.items() if counts[code]},
        "first": first,
    }


def earliest(layers: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The first difference of all: by step, then in order of execution."""
    return min((layer["first"] for layer in layers.values() if layer["first"]), key=lambda f: f["step"], default=None)
