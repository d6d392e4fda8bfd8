"""A run folder as the demo leaves it, and what one row of the report says about each trace in it."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from deploy.run_folder import BACKENDS, EXPECTED, ITERATIVE, LABELS, METRICS, PARALLEL, ROAD, trace_file, verdict_file
from spikestrip import schema, trace
from spikestrip.errors import BadInput
from spikestrip.files import read_array, read_json
from spikestrip.trace import Trace

METRICS_FORM = {f"{name}?": float for name in ("accuracy", "parallel_accuracy", "spiking_rate", "held_out")}
ROAD_FORM = {"runs?": {str: {"refused?": str}}}
VERDICT_FORM = {
    "verdict": ("pass", "fail"),
    "differ": int,
    "causes": {str: int},
    "failures?": [str],
    "first?": {
        **{name: int for name in ("sample", "step", "neuron")},
        **{name: str for name in ("layer", "cause")},
        **{f"{name}?": float for name in ("potential", "reference_potential", "threshold")},
    },
}
"""What the report reads of each file (``spikestrip.schema``)."""


@dataclasses.dataclass
class Row:
    """One trace of the table. Events are means per sample; None where the folder doesn't say."""

    name: str
    runs_on: str
    accuracy: float | None
    spiking_rate: float
    differ: int | None
    causes: dict[str, int]
    verdict: str
    synaptic_acs: float | None
    macs: float | None
    seconds: float | None


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
        neurons = sum(math.prod(train.shape) for train in recorded.spikes.values())
        seconds = attrs.get("seconds")
        return Row(
            name=title,
            runs_on=f"{attrs.get('device', '?')}, {attrs.get('dtype', '?')}",
            accuracy=self._accuracy(recorded),
            spiking_rate=sum(self.fired[name].values()) / max(neurons, 1),
            differ=verdict.get("differ") if verdict else None,
            causes=verdict.get("causes", {}) if verdict else {},
            verdict="reference" if name == ITERATIVE else (verdict or {}).get("verdict", "missing"),
            synaptic_acs=self._per_sample(name, "synaptic_acs"),
            macs=self._per_sample(name, "effective_macs", "state_macs"),
            seconds=float(seconds) if seconds is not None else None,
        )

    def _accuracy(self, recorded: Trace) -> float | None:
        if self.labels is None or self.labels.shape != recorded.output.shape[:-1]:
            return None
        right = sum(
            int(np.count_nonzero(recorded.output[samples].argmax(axis=-1) == self.labels[samples]))
            for samples in recorded.parts()
        )
        return right / self.labels.size

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
