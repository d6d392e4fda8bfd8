"""What a report says of a run folder, as JSON takes it (``report.schema.json``): the page and the Markdown show it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from deploy.pricing import prices
from deploy.pricing.table import evidence
from deploy.reporting import course, drawn
from deploy.reporting.folder import RunFolder
from deploy.reporting.replayed import Replayed, answered, replayed
from deploy.reporting.words import passed, sentence
from deploy.run_folder import ITERATIVE
from spikestrip.errors import BadInput
from spikestrip.operations import S4D, SpikingOperation
from spikestrip.program import Program
from spikestrip.trace import Trace

FORMAT, VERSION = "spikestrip-report", 1
LENGTHS = 24
"""Bars of the histogram of stretches of differences."""


def facts(folder: RunFolder) -> dict[str, Any]:
    """All that the report says of ``folder``. Raises BadInput for a damaged file, and one of another program."""
    return look(folder)[0]


def look(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts, and what the page draws spike by spike: both need the same replay."""
    samples = drawn.chosen(folder)
    first = folder.reference[1][: drawn.looked(folder)]
    seen = None if folder.program is None else replayed(folder.program, first, samples)
    return _facts(folder, first, samples, seen), drawn.drawn(folder, first, samples, seen)


def _facts(folder: RunFolder, looked: Trace, drawn_samples: list[int], seen: Replayed | None) -> dict[str, Any]:
    """looked: the reference's first samples, loaded; seen: their replay, None where the folder has no program."""
    name, reference = folder.reference
    rows = folder.rows()
    program = folder.program
    samples, steps = reference.input.shape[:2]
    return {
        "folder": folder.path.resolve().name,
        "sentence": sentence(folder, rows),
        "verified": passed(rows),
        "cpu_reference": folder.cpu_reference,
        "reference": name,
        "samples": samples,
        "steps": steps,
        "layers": {layer: train.shape[-1] for layer, train in reference.spikes.items()},
        "task": folder.metrics.get("task"),
        "test_set": {
            key: folder.metrics[key]
            for key in ("held_out", "accuracy", "parallel_accuracy", "spiking_rate")
            if folder.metrics.get(key) is not None
        },
        "training": folder.metrics.get("training") or [],
        "rows": [{**dataclasses.asdict(row), "agreement": row.agreement} for row in rows],
        "refused": folder.refused,
        "missing": folder.missing,
        "differences": {run: _differences(folder, run, steps) for run, verdict in folder.verdicts.items() if verdict},
        "rates": {run: _rates(folder, run) for run in folder.traces},
        "events": folder.events(name),
        "events_by_step": _events_by_step(looked),
        "energy": [
            {"reading": one.table.name, "process": one.table.process, "joules": one.total, "evidence": evidence(one)}
            for one in folder.bills(name, prices.names())
        ],
        "fit": [] if program is None else _fit(program, looked),
        "certificate": _certificate(folder, looked.input[drawn_samples]),
        "modes": {} if program is None else _modes(program),
        "thresholds": {} if program is None else _thresholds(program),
        "anytime": None if program is None or seen is None else _anytime(folder, program, seen, looked),
        "provenance": _provenance(folder),
    }  # fmt: skip


def _provenance(folder: RunFolder) -> dict[str, Any]:
    """What all traces state alike, and what each states beside that."""
    attrs = {run: dict(recorded.attrs) for run, recorded in folder.traces.items()}
    first = next(iter(attrs.values()))
    alike = {name: value for name, value in first.items() if all(of.get(name) == value for of in attrs.values())}
    own = {run: {name: value for name, value in of.items() if name not in alike} for run, of in attrs.items()}
    return {"all": alike, "runs": own}


def _differences(folder: RunFolder, run: str, steps: int) -> dict[str, Any]:
    verdict, listed = folder.verdicts[run], folder.listed.get(run, {})
    lengths, unended = course.stretches(listed, steps)
    bins = np.unique(np.geomspace(1, steps + 1, LENGTHS).astype(int))
    return {
        "differ": verdict["differ"],
        "causes": verdict["causes"],
        "first": verdict.get("first"),
        "layers": {
            layer: {key: entry[key] for key in ("decisions", "differ", "causes")}
            for layer, entry in (verdict.get("layers") or {}).items()
        },
        "failures": verdict.get("failures") or [],
        "notes": verdict.get("notes") or [],
        "by_step": {
            "edges": course.edges(steps).tolist(),
            "layers": {layer: counts.tolist() for layer, counts in course.by_step(listed, steps).items()},
        },
        "stretches": {
            "quiet": course.QUIET,
            "number": len(lengths),
            "unended": unended,
            "median": float(np.median(lengths)) if lengths.size else None,
            "longest": int(lengths.max(initial=0)),
            "edges": bins.tolist(),
            "counts": np.histogram(lengths, bins)[0].tolist(),
        },
    }


def _rates(folder: RunFolder, run: str) -> dict[str, float]:
    spikes = folder.traces[run].spikes
    return {layer: folder.fired[run][layer] / max(math.prod(train.shape), 1) for layer, train in spikes.items()}


def _events_by_step(looked: Trace) -> dict[str, Any]:
    """Counter -> events of one sample in each piece of the steps, all layers together."""
    samples, steps = looked.input.shape[:2]
    sums: dict[str, np.ndarray] = {}
    for table in looked.events.values():
        for counter, values in table.items():
            sums[counter] = sums.get(counter, 0) + course.over_steps(values)
    return {
        "samples": samples,
        "edges": course.edges(steps).tolist(),
        "counters": {counter: (values / max(samples, 1)).tolist() for counter, values in sums.items()},
    }


def _fit(program: Program, looked: Trace) -> list[dict[str, Any]]:
    from deploy.fit import fit
    from deploy.fitting import chip
    from deploy.fitting.measured import Measured

    counted = all("synaptic_acs" in looked.events.get(layer.name, {}) for layer in program.layers)
    run = Measured(looked, "trace") if counted else None
    answers: list[dict[str, Any]] = []
    for name in chip.names():
        known = chip.read(name)
        try:
            found = fit(program, known, run)
        except BadInput as refusal:
            said: dict[str, Any] = {"fits": None, "cores": None, "answer": f"can't be judged: {refusal.reason}"}
        else:
            said = {"fits": found.fits, "cores": found.cores, "answer": found.sentence}
        answers.append({"chip": known.name, **said})
    return answers


def _certificate(folder: RunFolder, x: np.ndarray) -> dict[str, Any] | None:
    """certificate.json; without one, what is certified of the samples that are drawn."""
    from deploy.certification import certify

    if folder.certificate is not None:
        samples, found = len(folder.reference[1].input), folder.certificate
    elif folder.program is None or folder.reference[0] != ITERATIVE:
        return None
    else:
        samples = len(x)
        try:
            found = certify(folder.program, x).to_dict()
        except BadInput as refusal:
            return {"samples": samples, "refused": refusal.reason, "arithmetics": {}}
    kept = ("verdict", "decisions", "listed", "unconditional", "certified")
    of_layer = ("least_excess", "largest_bound", "listed", "histogram")
    return {
        "samples": samples,
        "refused": None,
        "arithmetics": {
            name: {key: said[key] for key in kept}
            | {"layers": {layer: {key: one[key] for key in of_layer} for layer, one in said["layers"].items()}}
            for name, said in found["arithmetics"].items()
        },
    }


def _modes(program: Program) -> dict[str, Any]:
    """S4D layer -> of each mode |A|, the decay in a step, and arg A, the radians that it turns in one."""
    return {
        layer.name: {
            "decay": np.hypot(layer.operation.a_re, layer.operation.a_im).ravel().tolist(),
            "turn": np.arctan2(layer.operation.a_im, layer.operation.a_re).ravel().tolist(),
        }
        for layer in program.layers
        if isinstance(layer.operation, S4D)
    }


def _thresholds(program: Program) -> dict[str, list[float]]:
    """Spiking layer -> the thresholds that the program holds for it, one or one for each neuron."""
    neurons = {layer.name: layer.operation for layer in program.layers if isinstance(layer.operation, SpikingOperation)}
    held = {name: getattr(operation, "threshold", None) for name, operation in neurons.items()}
    return {name: np.ravel(values).astype(float).tolist() for name, values in held.items() if values is not None}


def _anytime(folder: RunFolder, program: Program, seen: Replayed, looked: Trace) -> dict[str, Any] | None:
    """The share of right answers, had the input ended earlier, and what had been counted by then."""
    samples, steps = looked.input.shape[:2]
    labels = folder.labels
    if labels is None or labels.ndim != 1 or len(labels) < samples or program.readout == "sequence":
        return None
    at = course.edges(steps)[1:]
    events = _events_by_step(looked)["counters"]
    return {
        "samples": samples,
        "steps": at.tolist(),
        "right": answered(program, seen.stream, labels[:samples], at),
        "events": {
            counter: np.cumsum(events[counter]).tolist() for counter in ("synaptic_acs", "spikes") if counter in events
        },
    }
