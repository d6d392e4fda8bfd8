"""The cache folder of data sets: $SPIKESTRIP_DATA, or spikestrip/ in the user's cache folder (XDG)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from spikestrip.errors import BadInput
from spikestrip.files import atomic, parsing, read_array
from train.tasks import Split


def folder() -> Path:
    """The cache folder, made if it isn't there. Raises BadInput when it can't be."""
    named = os.environ.get("SPIKESTRIP_DATA")
    path = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikestrip"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(path, f"no data can be cached here ({error.strerror}); set SPIKESTRIP_DATA") from error
    return path


def places(data_dir: Path | None) -> list[Path]:
    """Where data is looked for, in order."""
    return [*([data_dir] if data_dir else []), folder()]


def _take_room(file: Path) -> None:
    """A disk that is full says so here; the mapped file would end the process."""
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def stored(name: str, shape: tuple[int, ...], dtype: type, fill: Callable[[np.ndarray, np.ndarray], None]) -> Split:
    """A split kept in the cache, its inputs memory-mapped; ``name`` must tell apart what differs.

    ``fill(inputs, labels)`` writes it the first time, into zeros: inputs of ``shape``, labels (shape[0],) int64.
    Raises BadInput when there is no sequence to write, or what lies in the cache isn't the split.
    """
    if shape[0] == 0:
        raise BadInput(name, "has no sequences")
    inputs_file, labels_file = (folder() / f"{name}-{part}.npy" for part in ("inputs", "labels"))
    if not (inputs_file.is_file() and labels_file.is_file()):
        with atomic(inputs_file) as new_inputs, atomic(labels_file) as new_labels:
            inputs = open_memmap(new_inputs, "w+", dtype, shape)
            _take_room(new_inputs)
            labels = np.zeros(shape[0], np.int64)
            fill(inputs, labels)
            inputs.flush()
            np.save(new_labels, labels)
    with parsing(inputs_file, "or its labels can't be read; delete it, and it will be made again"):
        # c: writable in memory alone, as torch wants its arrays
        split = Split(np.load(inputs_file, mmap_mode="c"), read_array(labels_file))
    if split.inputs.shape != shape or split.inputs.dtype != dtype or split.labels.shape != shape[:1]:
        raise BadInput(inputs_file, f"holds {split.inputs.shape}, not {shape}; delete it, and it will be made again")
    return split
