"""What the page draws spike by spike: some samples whole, their differences, and the potentials around each of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy.certification.past import sources
from deploy.reporting.folder import RunFolder
from deploy.reporting.replayed import Replayed, replayed
from deploy.run_folder import ITERATIVE, trace_file, verdict_file
from deploy.verification import differences
from spikestrip.errors import BadInput
from spikestrip.program import Program
from spikestrip.trace import Trace, join

LOOKED = 64
"""Samples, from the first, of which some are drawn, and which are replayed for the answers in the course of time."""
DRAWN = 4
"""Samples that are drawn, at most."""
SPIKES_BYTES = 1 << 20
"""Of them, as bits."""
DIFFERENCES = 12_000
"""Differences that are drawn, of all samples and runs; a run gets its share."""
DETAILED = 2_400
"""Differences of which the page holds the potentials around them; each sample of a run gets its share."""
AROUND = 12
"""Steps before and after a difference."""
MEMORY = 1 << 28
"""Bytes of spikes, and of potentials, that are held at once."""
NOWHERE = -1
Sent = Mapping[str, np.ndarray]
"""Layer -> (B, T, N) booleans: it sent a spike, or several."""


def looked(folder: RunFolder) -> int:
    """How many samples, from the first, are looked at in full."""
    _, reference = folder.reference
    batch, steps = reference.input.shape[:2]
    size = steps * sum(train.shape[-1] for train in reference.spikes.values())
    return max(1, min(batch, LOOKED, MEMORY // max(size, 1)))


def chosen(folder: RunFolder) -> list[int]:
    """The samples to draw: with most differences, in the order of their numbers; the first ones where none differs."""
    _, reference = folder.reference
    steps, within = reference.input.shape[1], looked(folder)
    size = sum(steps * (train.shape[-1] + 7) // 8 for train in reference.spikes.values())
    kept = sum(16 * steps * train.shape[-1] for train in reference.spikes.values())
    most = max(1, min(DRAWN, SPIKES_BYTES // max(size, 1), MEMORY // max(kept, 1)))
    counts = np.zeros(within, np.int64)
    for listed in folder.listed.values():
        for one in listed.values():
            counts += np.bincount(one.sample[one.sample < within], minlength=within)
    return sorted(np.argsort(-counts, kind="stable")[:most].tolist())


def drawn(folder: RunFolder, first: Trace, samples: list[int], seen: Replayed | None) -> dict[str, Any]:
    """The payload of the page: plain values, arrays as base64 of their little-endian bytes (``spikes.js``).

    first: the reference's first samples, loaded; seen: their replay, with the potentials of ``samples``.
    """
    labels, sent = folder.labels, _sent(first)
    shown = [
        {
            "sample": sample,
            "label": int(labels[sample]) if labels is not None and labels.ndim == 1 else None,
            "answers": _answers(folder, sample),
            "spikes": {name: _packed(np.packbits(train[sample].ravel())) for name, train in sent.items()},
        }
        for sample in samples
    ]
    runs = [run for run, listed in folder.listed.items() if listed]
    return {
        "steps": first.input.shape[1],
        "around": AROUND,
        "neurons": {name: train.shape[-1] for name, train in sent.items()},
        "samples": shown,
        "runs": {run: _run(folder, run, sent, samples, seen, len(runs)) for run in runs},
    }


def _sent(run: Trace) -> Sent:
    return {name: train > 0 for name, train in (run.spikes | run.numbers).items()}


def _answers(folder: RunFolder, sample: int) -> dict[str, int]:
    """What each run answered, where it gives one answer for a sample."""
    return {
        run: int(np.argmax(recorded.output[sample : sample + 1][0]))
        for run, recorded in folder.traces.items()
        if len(recorded.output.shape) == 2 and sample < len(recorded.output)
    }


def _run(
    folder: RunFolder, run: str, sent: Sent, samples: list[int], seen: Replayed | None, runs: int
) -> list[dict[str, Any]]:
    """For each drawn sample the differences of ``run``, in the order of steps, and the potentials around the first."""
    program, layers = folder.program, list(folder.listed[run])
    mine: Replayed | None = None
    if program is not None:
        whole = folder.traces[run]
        mine = replayed(program, join([whole[one : one + 1] for one in samples]), list(range(len(samples))))
    entries = []
    for place, sample in enumerate(samples):
        found = _differences(folder, run, sent, sample)
        kept = {name: values[: DIFFERENCES // (runs * len(samples))] for name, values in found.items()}
        entry: dict[str, Any] = {"all": len(found["step"]), **{name: values.tolist() for name, values in kept.items()}}
        layer, step, neuron = kept["layer"], kept["step"], kept["neuron"]
        roots = np.full((len(step), 2), NOWHERE)
        if program is not None:
            roots = _roots(program, layers, layer, step, neuron, kept["cause"] == "carried")
        entry |= {"root": roots[:, 0].tolist(), "roots": roots[:, 1].tolist()}
        if seen is not None and mine is not None:
            detailed = slice(DETAILED // (runs * len(samples)))
            entry |= _details(seen, mine, place, layers, layer[detailed], step[detailed], neuron[detailed])
        entries.append(entry)
    return entries


def _differences(folder: RunFolder, run: str, sent: Sent, sample: int) -> dict[str, np.ndarray]:
    """Those of one sample, all layers together, in the order of steps; layer: its number among those listed."""
    columns: dict[str, list[np.ndarray]] = {}
    for number, (name, one) in enumerate(folder.listed[run].items()):
        at = np.flatnonzero(one.sample == sample)
        step, neuron = one.step[at].astype(np.int64), one.neuron[at].astype(np.int64)
        if ((one.others[at] > 0) != sent[name][sample, step, neuron]).any():
            table = differences.beside(folder.path / verdict_file(run))
            raise BadInput(table, f"layer {name}: it is about other spikes than those of {trace_file(ITERATIVE)}")
        found = {
            "layer": np.full(at.size, number), "step": step, "neuron": neuron, "cause": one.causes[at],
            "fired": one.fired[at], "others": one.others[at],
        }  # fmt: skip
        for column, values in found.items():
            columns.setdefault(column, []).append(values)
    joined = {column: np.concatenate(parts) for column, parts in columns.items()}
    order = np.lexsort((joined["neuron"], joined["layer"], joined["step"]))
    return {column: values[order] for column, values in joined.items()}


def _details(
    seen: Replayed, mine: Replayed, place: int, layers: list[str], layer: np.ndarray, step: np.ndarray,
    neuron: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """u' and thresholds of both sides around each difference, (n, 2*AROUND + 1) float32; their margins in float64."""
    around = step[:, None] + np.arange(-AROUND, AROUND + 1)
    found: dict[str, Any] = {}
    for side, replay in (("reference", seen), ("run", mine)):
        windows = {kind: np.full(around.shape, np.nan) for kind in ("potentials", "thresholds")}
        for kind, values in windows.items():
            for number, name in enumerate(layers):
                of_layer = np.flatnonzero(layer == number)
                array = getattr(replay, kind)[name][place]
                steps = around[of_layer]
                inside = (steps >= 0) & (steps < len(array))
                read = array[np.clip(steps, 0, len(array) - 1), neuron[of_layer][:, None]]
                values[of_layer] = np.where(inside, read, np.nan)
        found[f"{side}_potentials"] = _packed(windows["potentials"].astype("<f4"))
        found[f"{side}_thresholds"] = _packed(windows["thresholds"].astype("<f4"))
        found[f"{side}_margins"] = (windows["potentials"] - windows["thresholds"])[:, AROUND].tolist()
    return found


def _roots(
    program: Program, layers: list[str], layer: np.ndarray, step: np.ndarray, neuron: np.ndarray, carried: np.ndarray
) -> np.ndarray:
    """Of each carried difference the latest earlier one that isn't, and can have reached it; and how many could.

    Differences of one sample in the order of steps. Returns (n, 2): its index or NOWHERE, and the number.
    """
    reach = sources(program, set(layers))
    origins = np.flatnonzero(~carried)
    at = {number: origins[layer[origins] == number] for number in range(len(layers))}
    found = np.full((len(layer), 2), NOWHERE)
    for index in np.flatnonzero(carried).tolist():
        now, later = reach[layers[layer[index]]]
        own = at[int(layer[index])]
        candidates = [own[(neuron[own] == neuron[index]) & (step[own] < step[index])]]
        for number, name in enumerate(layers):
            if name in now or name in later:
                until = np.searchsorted(step[at[number]], step[index], side="right" if name in now else "left")
                candidates.append(at[number][:until])
        before = np.unique(np.concatenate(candidates))
        found[index] = (before[np.argmax(step[before])] if before.size else NOWHERE), before.size
    return found


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
