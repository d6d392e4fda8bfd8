"""IBM's DVS128 Gesture, from a user's copy: 11 gestures before an event camera, 60 frames of 25 ms.

A frame counts the events of 25 ms; the first is at the start of the gesture that the annotation gives, and 1.5 s are
kept. Each 4 x 4 block of the 128 x 128 pixels is one channel, for each polarity: 2 x 32 x 32 = 2,048, off events first.
(Amir et al., 2017, "A low power, fully event-based gesture recognition system".)
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.files import existing, parsing
from spikestrip.schema import LARGEST
from train.tasks import Split, Task, cache, copies

GESTURES, FRAMES, FRAME_US, SIDE, BLOCK = 11, 60, 25_000, 128, 4
CHANNELS = 2 * (SIDE // BLOCK) ** 2
HEADER = np.dtype([("type", "<u2"), ("source", "<u2"), *((name, "<u4") for name in (
    "size", "ts_offset", "overflow", "capacity", "number", "valid"))])  # fmt: skip
POLARITY = 1  # packet type


class Gesture(NamedTuple):
    """One row of the annotations: ``label`` from 0, times in microseconds."""

    label: int
    start: int
    stop: int


def load(data_dir: Path | None = None) -> Task:
    """Event counts; the official trials to train and to test. ``data_dir``: the folder DvsGesture, or what holds it."""
    folder = copies.find("dvs_gesture", data_dir, ["DvsGesture"], "trials_to_train.txt")
    train, test = _split(folder, "train"), _split(folder, "test")
    maps = (2, SIDE // BLOCK, SIDE // BLOCK)
    return Task("dvs_gesture", train, test, classes=GESTURES, channels=CHANNELS, maps=maps)


def _split(folder: Path, part: str) -> Split:
    given = folder / f"trials_to_{part}.txt"
    trials = [copies.listed(given, folder, line.strip()) for line in copies.lines(given)]
    tables = [trial.with_name(f"{trial.stem}_labels.csv") for trial in trials]
    gestures = [read_gestures(table) for table in tables]
    if not trials:
        raise BadInput(given, "names no trial")

    def fill(inputs: np.ndarray, labels: np.ndarray) -> None:
        row = 0
        for trial, rows in zip(trials, gestures, strict=True):
            events = read_events(trial)
            for gesture in rows:
                inputs[row] = frames(events, gesture)
                labels[row] = gesture.label
                row += 1

    name = f"dvs_gesture-{copies.signature([*trials, *tables])}-{part}"
    return cache.stored(name, (sum(map(len, gestures)), FRAMES, CHANNELS), np.float32, fill)


def read_gestures(path: Path) -> list[Gesture]:
    """The annotations of one trial: class 1 to 11, start and stop."""
    with parsing(existing(path), "is not a table of class, startTime_usec and endTime_usec"):
        rows = [
            Gesture(int(row["class"]) - 1, int(row["startTime_usec"]), int(row["endTime_usec"]))
            for row in csv.DictReader(copies.lines(path))
        ]
    if not rows:
        raise BadInput(path, "has no gesture")
    if any(not (0 <= row.label < GESTURES and 0 <= row.start < row.stop < LARGEST) for row in rows):
        raise BadInput(path, f"has a class outside 1 to {GESTURES}, or a gesture that ends before it starts")
    return rows


def read_events(path: Path) -> np.ndarray:
    """(N, 4) int64 rows time in microseconds, x, y, polarity: the valid polarity events of an AEDAT 3.1 file."""
    content = path.read_bytes()
    position = 0
    if not content.startswith(b"#!AER-DAT3.1"):
        raise BadInput(path, "is not AEDAT 3.1")
    while content.startswith(b"#", position):
        line_end = content.find(b"\n", position) + 1 or len(content)
        ended = content.startswith(b"#!END-HEADER", position)
        position = line_end
        if ended:
            break
    packets = [np.empty((0, 4), np.int64)]
    while position < len(content):
        start = position + HEADER.itemsize
        head = np.frombuffer(content[position:start].ljust(HEADER.itemsize, b"\0"), HEADER)[0]
        position = start + int(head["size"]) * int(head["number"])
        if position > len(content):
            raise BadInput(path, "is truncated: its last packet isn't whole")
        if head["type"] == POLARITY:
            if head["size"] != 8:
                raise BadInput(path, f"has polarity events of {head['size']} bytes, not 8")
            words = np.frombuffer(content, "<u4", 2 * int(head["number"]), start).reshape(-1, 2).astype(np.int64)
            data, time = words[words[:, 0] & 1 == 1].T
            time = time + (int(head["overflow"]) << 31)
            packets.append(np.stack([time, data >> 17 & 0x1FFF, data >> 2 & 0x1FFF, data >> 1 & 1], axis=1))
    events = np.concatenate(packets)
    if events[:, 1:3].max(initial=0) >= SIDE:
        raise BadInput(path, f"has an event outside {SIDE} x {SIDE} pixels")
    return events


def frames(events: np.ndarray, gesture: Gesture) -> np.ndarray:
    """(FRAMES, CHANNELS) counts of ``events`` in one gesture; a gesture shorter than 1.5 s ends in empty frames."""
    stop = min(gesture.stop, gesture.start + FRAMES * FRAME_US)
    time, x, y, polarity = events[(events[:, 0] >= gesture.start) & (events[:, 0] < stop)].T
    side = SIDE // BLOCK
    cell = ((time - gesture.start) // FRAME_US * 2 + polarity) * side * side + y // BLOCK * side + x // BLOCK
    return np.bincount(cell, minlength=FRAMES * CHANNELS).reshape(FRAMES, CHANNELS)
