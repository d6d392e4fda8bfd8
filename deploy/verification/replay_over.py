"""A replay spread over processes, ROWS samples a task: samples never see one another, so that what is found merges."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from deploy.verification.bounds import Arithmetic
from deploy.verification.replay import ROWS, Decisions, Replay, Spikes, replay
from simulators.shards import Over
from spikestrip import ledger
from spikestrip.execution import parts
from spikestrip.program import Program, at_sample

Keys = Mapping[str, np.ndarray]
Look = Callable[[slice, np.ndarray, ledger.Events], None]
Seen = tuple[slice, np.ndarray, ledger.Events]
Piece = tuple[int, np.ndarray, Spikes, Keys]
"""The number of the first sample; input, spikes and asked positions of these samples alone."""


def replay_over(
    over: Over,
    program: Program,
    x: np.ndarray,
    spikes: Spikes,
    asked: Keys,
    limit: float | None,
    arithmetic: Arithmetic | None,
    look: Look,
) -> Replay:
    """What ``replay`` finds, to the bit; ``over`` runs the samples. ``look`` is called here, in their order."""
    decisions: dict[str, list[Decisions]] = {}

    def parts_of_it() -> Iterator[Replay]:
        for part, looks in over(functools.partial(_found, program, limit, arithmetic), _pieces(x, spikes, asked)):
            for seen in looks:
                look(*seen)
            for name, found in part.decisions.items():
                decisions.setdefault(name, []).append(found)
            yield part

    whole = functools.reduce(_merged, parts_of_it())
    columns = [field.name for field in dataclasses.fields(Decisions)]
    whole.decisions = {
        name: Decisions(*(np.concatenate([getattr(one, column) for one in found]) for column in columns))
        for name, found in decisions.items()
    }
    return whole


def _pieces(x: np.ndarray, spikes: Spikes, asked: Keys) -> Iterator[Piece]:
    for rows in list(parts(len(x), 1, ROWS)) or [slice(0, 0)]:
        here = {}
        for name, keys in asked.items():
            start, stop = (row * spikes[name].shape[1] * spikes[name].shape[2] for row in (rows.start, rows.stop))
            here[name] = keys[slice(*np.searchsorted(keys, (start, stop)))] - start
        yield rows.start, np.array(x[rows]), {name: train[rows] for name, train in spikes.items()}, here


def _found(
    program: Program, limit: float | None, arithmetic: Arithmetic | None, piece: Piece
) -> tuple[Replay, list[Seen]]:
    """What is found in some samples, its positions those of the whole; and what ``look`` is to be shown."""
    first, x, spikes, asked = piece
    looks: list[Seen] = []

    def look(rows: slice, output: np.ndarray, events: ledger.Events) -> None:
        looks.append((slice(first + rows.start, first + rows.stop), output, events))

    found = replay(at_sample(program, first), x, spikes, asked, limit, arithmetic, look)
    for name, decisions in found.decisions.items():
        decisions.keys += first * spikes[name].shape[1] * spikes[name].shape[2]
    return found, looks


def _merged(one: Replay, other: Replay) -> Replay:
    """All but the decisions, which are joined once, at the end."""

    def largest(name: str) -> dict[str, Any]:
        mine, theirs = getattr(one, name), getattr(other, name)
        return {layer: _largest(value, theirs[layer]) for layer, value in mine.items()}

    return Replay(
        decisions=one.decisions,
        bounds=largest("bounds"),
        running=largest("running"),
        measured=None if one.measured is None else largest("measured"),
        largest=largest("largest"),
        ties={layer: ties + other.ties[layer] for layer, ties in one.ties.items()},
        received=largest("received"),
        level=largest("level"),
    )


def _largest(one: Any, other: Any) -> Any:
    """Of each neuron, or of the layer. None, where no bound is known, stays."""
    if one is None or other is None:
        return None
    return np.maximum(one, other) if isinstance(one, np.ndarray) else max(one, other)
