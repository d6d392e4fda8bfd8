"""Data sets that no package holds: a user's own copy, found and told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from spikestrip.errors import BadInput
from spikestrip.files import existing
from train.tasks import cache


def find(task: str, data_dir: Path | None, layouts: Sequence[str], marker: str) -> Path:
    """The folder that holds ``marker``: ``data_dir`` or the cache folder, or one of ``layouts`` in them.

    Raises BadInput, which says where it was looked for: such a data set can't be fetched.
    """
    folders = [place / layout for place in cache.places(data_dir) for layout in ("", *layouts)]
    for folder in folders:
        if (folder / marker).exists():
            return folder
    looked = " nor in ".join(str(folder) for folder in folders)
    raise BadInput(task, f"{marker} is not in {looked}; get the data set yourself and pass its folder as --data-dir")


def signature(paths: Iterable[Path]) -> str:
    """Sixteen hex digits that change when one of the files is added, taken away, or written anew."""
    digest = hashlib.sha256()
    for path in paths:
        status = existing(path).stat()
        digest.update(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
