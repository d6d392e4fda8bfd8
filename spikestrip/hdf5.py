"""A look at an HDF5 file before it is read: the format can point at other files and expand without bound."""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py
import numpy as np

from spikestrip.errors import BadInput
from spikestrip.files import check_text, existing, parsing

MAX_BYTES = 8 << 30
MAX_PIECE = 1 << 30  # bytes of one sample, and of one chunk, in a file that is read by samples
MAX_RATIO = 2000
MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64


def scan(path: str | os.PathLike[str], by_samples: tuple[str, ...] | None = None) -> Path:
    """Refuse (BadInput) what is no HDF5 file, links to other places, stores data elsewhere, or expands like a bomb.

    by_samples: the file is read sample by sample, so that only one of them must fit in memory; and in these groups a
    data set may be its fill value for the most part, of which nothing is stored.
    """
    file = existing(path)
    with parsing(file, "is not a readable HDF5 file"), h5py.File(file, "r") as root:
        _Scan(file, by_samples).group(root, "", 0)
    return file


def attributes(item: h5py.Group | h5py.Dataset, source: str | os.PathLike[str]) -> dict[str, str | int | float | bool]:
    """The attributes of ``item``: text and real numbers. BadInput(source) for any other: arrays, references, none."""
    plain: dict[str, str | int | float | bool] = {}
    for name in item.attrs:
        with parsing(source, f"{item.name}: its attribute {name!r} can't be read"):
            value = item.attrs[name]
            check_text(source, name)
            value = value.decode() if isinstance(value, bytes) else value
            value = value.item() if isinstance(value, np.generic) else value
            check_text(source, value)
        if not isinstance(value, str | int | float | bool):
            raise BadInput(
                source, f"{item.name}: its attribute {name!r} is {type(value).__name__}, not text or a number"
            )
        plain[name] = value
    return plain


class _Scan:
    def __init__(self, file: Path, by_samples: tuple[str, ...] | None) -> None:
        self.file = file
        self.by_samples = by_samples
        self.objects = 0
        self.groups: set[tuple[int, int]] = set()
        self.bytes = 0
        self.stored = file.stat().st_size

    def group(self, group: h5py.Group, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise BadInput(self.file, f"{prefix} is nested more than {MAX_DEPTH} deep")
        info = h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in self.groups:  # n such links in a row make 2^n paths
            raise BadInput(self.file, f"{prefix} is a group that stands elsewhere in it too; refused")
        self.groups.add((info.fileno, info.addr))
        for name in group:
            where = f"{prefix}/{name}"
            check_text(self.file, name)
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise BadInput(self.file, f"holds more than {MAX_OBJECTS} objects")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise BadInput(self.file, f"{where} is a link to another place (external or soft); refused")
            item = group[name]
            if isinstance(item, h5py.Group):
                self.group(item, where, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self.dataset(item, where)
            else:
                raise BadInput(self.file, f"{where} is neither group nor dataset")

    def dataset(self, item: h5py.Dataset, where: str) -> None:
        if item.external or item.is_virtual:
            raise BadInput(self.file, f"{where} keeps its data in another file; refused")
        size = item.size * item.dtype.itemsize if item.size else 0
        limit: float = MAX_BYTES
        if self.by_samples is not None and item.shape:
            limit = math.inf
            piece = max(size // max(1, item.shape[0]), math.prod(item.chunks or (0,)) * item.dtype.itemsize)
            if piece > MAX_PIECE:
                raise BadInput(self.file, f"{where} expands to {piece} bytes a sample or a chunk; refused")
            if where.startswith(self.by_samples):
                return
        self.bytes += size
        if self.bytes > limit or self.bytes > MAX_RATIO * max(self.stored, 1 << 16):
            raise BadInput(self.file, f"{where} expands to {self.bytes} bytes from a file of {self.stored}; refused")
