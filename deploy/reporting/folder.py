"""A run folder as the road leaves it, and what one row of the report says about each trace in it."""

from __future__ import annotations

import dataclasses
import math
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.pricing import bill, prices
from deploy.pricing.bill import Bill, Range
from deploy.run_folder import (
    BACKENDS,
    CERTIFICATE,
    EXPECTED,
    ITERATIVE,
    LABELS,
    METRICS,
    NIR,
    PARALLEL,
    ROAD,
    trace_file,
    verdict_file,
)
from deploy.verification import differences
from deploy.verification.differences import Listed
from spikestrip import schema, trace
from spikestrip.errors import BadInput, within
from spikestrip.files import read_array, read_json
from spikestrip.trace import Trace

if TYPE_CHECKING:
    from spikestrip.program import Program

JOULES = "event_float32"
"""The reading whose energy stands in the table; all of them stand below it."""
METRICS_FORM = {
    **{f"{name}?": float for name in ("accuracy", "parallel_accuracy", "spiking_rate", "held_out")},
    "task?": str,
    "training?": [{"epoch?": float, "accuracy?": float, "spiking_rate?": float, "loss?": float}],
}
ROAD_FORM = {"runs?": {str: {"refused?": str}}}
VERDICT_FORM = {
    "verdict": ("pass", "fail"),
    "differ": int,
    "causes": {str: int},
    "layers?": {str: {"decisions": int, "differ": int, "causes": {str: int}}},
    "failures?": [str],
    "notes?": [str],
    "sides?": {"reference?": {"form?": str}},
    "first?": {
        **{name: int for name in ("sample", "step", "neuron")},
        **{name: str for name in ("layer", "cause")},
        **{f"{name}?": float for name in ("potential", "reference_potential", "threshold")},
    },
}
"""What the report reads of each file (``spikestrip.schema``)."""


@dataclasses.dataclass
class Row:
    """One trace of the table. Events and joules are means per sample; None where the folder doesn't say.

    right, answers: of the samples that were run; decisions: of all neurons in all steps; joules: low and high, by the
    reading ``JOULES``.
    """

    run: str
    name: str
    runs_on: str
    right: int | None
    answers: int | None
    spiking_rate: float
    decisions: int
    differ: int | None
    causes: dict[str, int]
    verdict: str
    synaptic_acs: float | None
    macs: float | None
    joules: Range | None
    seconds: float | None

    @property
    def agreement(self) -> float | None:
        """The share of the decisions that are those of the iterative reference."""
        return None if self.differ is None else 1 - self.differ / max(self.decisions, 1)


class RunFolder:
    """metrics, labels, traces and verdicts by row name, backends that ``refused`` and why, and what is ``missing``.

    fired, counted: of each trace, its spikes by layer, its events by layer and counter, over samples and steps.

    Raises BadInput for a folder that isn't there, holds no trace, or holds a damaged file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise BadInput(self.path, "is no folder")
        self.missing = [name for name in EXPECTED if not (self.path / name).is_file()]
        self.metrics: dict[str, Any] = _read(self.path / METRICS, METRICS_FORM)
        self.labels = None if LABELS in self.missing else read_array(self.path / LABELS)
        if self.labels is not None and self.labels.dtype.kind not in "iu":
            raise BadInput(self.path / LABELS, f"holds {self.labels.dtype}, not classes")
        self.traces: dict[str, Trace] = {}
        for name in (PARALLEL, ITERATIVE):
            if trace_file(name) not in self.missing:
                self.traces[name] = trace.read(self.path / trace_file(name))
        for found in sorted(self.path.glob(trace_file("*"))):
            self.traces[found.name.removeprefix("trace.").removesuffix(".h5")] = trace.read(found)
        self._check_pair()
        runs = _read(self.path / ROAD, ROAD_FORM).get("runs") or {}
        self.refused: dict[str, str] = {name: run["refused"] for name, run in runs.items() if "refused" in run}
        expected = [name for name in runs or BACKENDS if name not in {*self.refused, PARALLEL, ITERATIVE}]
        self.missing += [trace_file(name) for name in expected if name not in self.traces]
        if not self.traces:
            raise BadInput(self.path, "holds no trace: is it a run folder?")
        self.fired = {name: recorded.fired() for name, recorded in self.traces.items()}
        self.counted = {name: recorded.counted() for name, recorded in self.traces.items()}
        self.verdicts = {
            name: _read(self.path / verdict_file(name), VERDICT_FORM) for name in self.traces if name != ITERATIVE
        }
        self.missing += [verdict_file(name) for name, verdict in self.verdicts.items() if not verdict]
        self.listed = {name: self._listed(name) for name, verdict in self.verdicts.items() if verdict.get("differ")}
        if NIR not in self.missing:
            self._check_program()

    def _listed(self, name: str) -> dict[str, Listed]:
        """The differences of a run, ``others`` being what the iterative reference sent; {} where there is no table."""
        file = differences.beside(self.path / verdict_file(name))
        if not file.is_file():
            self.missing.append(file.name)
            return {}
        found = differences.read(file)
        # the road takes the network as trained for the reference of the iterative run
        swapped = (self.verdicts[name].get("sides") or {}).get("reference", {}).get("form") == "parallel"
        recorded = self.reference[1].spikes | self.reference[1].numbers
        for layer, listed in found.items():
            shape = recorded[layer].shape if layer in recorded else None
            places = (listed.sample, listed.step, listed.neuron)
            if shape is None or any(
                place.size and int(place.max()) >= most for place, most in zip(places, shape, strict=True)
            ):
                raise BadInput(file, f"layer {layer} is not one of {trace_file(self.reference[0])}, or larger there")
            if swapped:
                listed.fired, listed.others = listed.others, listed.fired
        return found

    @cached_property
    def program(self) -> Program | None:
        """What the traces are runs of; None where the folder has no model.nir. Raises BadInput for a damaged one."""
        from convert.formats.nir import reading

        return None if NIR in self.missing else reading.read(self.path / NIR)

    def _check_program(self) -> None:
        name, reference = self.reference
        stated = reference.attrs.get("program_sha256")
        if self.program is not None and stated != self.program.sha256:
            raise BadInput(self.path / NIR, f"is not the program that {trace_file(name)} is a run of")
        if self.program is not None and set(reference.spikes) - {layer.name for layer in self.program.layers}:
            raise BadInput(self.path / trace_file(name), f"has layers that {NIR} lacks")

    @cached_property
    def certificate(self) -> dict[str, Any] | None:
        """certificate.json, where there is one, and it is of this program and input."""
        from deploy.certification import document

        file = self.path / CERTIFICATE
        if not file.is_file():
            return None
        value, attrs = document.read(file), self.reference[1].attrs
        if any(value.get(name) != attrs.get(name) for name in ("program_sha256", "input_sha256")):
            raise BadInput(file, f"is of another program or input than {trace_file(self.reference[0])}")
        return value

    def events(self, name: str) -> dict[str, dict[str, float]]:
        """Layer -> counter -> events of one sample of a run, the mean over its samples."""
        samples = len(self.traces[name].input)
        return {
            layer: {counter: events / samples for counter, events in table.items()}
            for layer, table in self.counted[name].items()
        }

    def bills(self, name: str, tables: list[str]) -> list[Bill]:
        """What a run would cost one sample, by each of these readings; none where it counted no events."""
        events = self.events(name)
        with within(self.path / trace_file(name)):
            return [bill.bill(events, self.traces[name].spikes, prices.read(one)) for one in tables if events]

    def _check_pair(self) -> None:
        """The two runs that are drawn side by side must be of the same layers and shapes."""
        if PARALLEL in self.traces and ITERATIVE in self.traces:
            a, b = (
                {name: train.shape for name, train in self.traces[run].spikes.items()} for run in (PARALLEL, ITERATIVE)
            )
            if a != b:
                raise BadInput(self.path / trace_file(PARALLEL), f"has other layers than {trace_file(ITERATIVE)}")

    @property
    def cpu_reference(self) -> bool:
        """True when the network as trained was recorded on a CPU, not on the machine that a paper would use."""
        return PARALLEL in self.traces and str(self.traces[PARALLEL].attrs.get("device", "")).startswith("cpu")

    @property
    def reference(self) -> tuple[str, Trace]:
        """The trace whose layers and events the report shows."""
        name = ITERATIVE if ITERATIVE in self.traces else next(iter(self.traces))
        return name, self.traces[name]

    def rows(self) -> list[Row]:
        """One row for each trace, the references first."""
        return [self._row(name, recorded) for name, recorded in self.traces.items()]

    def _row(self, name: str, recorded: Trace) -> Row:
        attrs, verdict = recorded.attrs, self.verdicts.get(name)
        title = f"{name} ({attrs['parallel']})" if name == PARALLEL and "parallel" in attrs else name
        decisions = sum(math.prod(train.shape) for train in recorded.spikes.values())
        seconds = attrs.get("seconds")
        right = self._right(recorded)
        bills = self.bills(name, [JOULES])
        return Row(
            run=name,
            name=title,
            runs_on=f"{attrs.get('device', '?')}, {attrs.get('dtype', '?')}",
            right=right,
            answers=None if right is None or self.labels is None else self.labels.size,
            spiking_rate=sum(self.fired[name].values()) / max(decisions, 1),
            decisions=decisions,
            differ=verdict.get("differ") if verdict else None,
            causes=verdict.get("causes", {}) if verdict else {},
            verdict="reference" if name == ITERATIVE else (verdict or {}).get("verdict", "missing"),
            synaptic_acs=self._per_sample(name, "synaptic_acs"),
            macs=self._per_sample(name, "effective_macs", "state_macs"),
            joules=bills[0].total if bills else None,
            seconds=float(seconds) if seconds is not None else None,
        )

    def _right(self, recorded: Trace) -> int | None:
        if self.labels is None or self.labels.shape != recorded.output.shape[:-1]:
            return None
        return sum(
            int(np.count_nonzero(recorded.output[samples].argmax(axis=-1) == self.labels[samples]))
            for samples in recorded.parts()
        )

    def _per_sample(self, name: str, *counters: str) -> float | None:
        events = self.counted[name]
        if not events:
            return None
        total = sum(table[counter] for table in events.values() for counter in counters if counter in table)
        return total / len(self.traces[name].input)


def _read(file: Path, form: Any) -> dict[str, Any]:
    """The JSON object in a file, of ``form``; {} where there is no file."""
    value = read_json(file)
    if value:
        schema.check(file, value, form)
    return value
