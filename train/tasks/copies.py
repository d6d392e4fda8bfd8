"""Data sets that no package holds: a user's own copy, found and told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from spikestrip.errors import BadInput, within
from spikestrip.files import check_text, existing, parsing, read_text
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


def lines(path: Path) -> list[str]:
    """The lines of a text of the data set, none of them empty. Raises BadInput for what is no text."""
    with parsing(existing(path), "is not readable text"):
        text = read_text(path)
    check_text(path, text)
    return [line for line in text.splitlines() if line.strip()]


def listed(path: Path, folder: Path, name: str) -> Path:
    """The file in ``folder`` that ``path``, a list, gives as ``name``. Raises BadInput where there is none."""
    with within(path):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadInput(name, "is no name in the folder of the data set")
        return existing(folder / name)
