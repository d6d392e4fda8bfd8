"""WikiText-103, byte by byte, from a user's copy: a byte language model with the official three parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput, within
from spikestrip.files import existing
from train.tasks import Split, Task, copies
from train.tasks.bytes import windows


def load(data_dir: Path | None = None, length: int = 1024) -> Task:
    """Windows of ``length`` bytes of wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens, memory-mapped.

    The words and <unk> of the files are read as the bytes that they are: no vocabulary of words. ``data_dir``: the
    folder of the files, or the one that holds it as wikitext-103/.
    """
    folder = copies.find("wikitext103", data_dir, ["wikitext-103"], "wiki.train.tokens")
    train, validation, test = (_split(folder / f"wiki.{part}.tokens", length) for part in ("train", "valid", "test"))
    return Task("wikitext103", train, test, 256, 256, tokens=True, validation=validation, readout="sequence")


def _split(path: Path, length: int) -> Split:
    if existing(path).stat().st_size == 0:  # an empty file can't be mapped
        raise BadInput(path, "is empty")
    with within(path):
        return windows(np.memmap(path, np.uint8, "c"), length)
