"""Files that are either whole or absent: written beside, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikestrip.errors import BadInput


def writable(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, or BadInput if no file can be written there: long work asks before it begins."""
    target = Path(path)
    if target.is_dir():
        raise BadInput(target, "is a folder, not a file to write")
    if not os.access(target.parent, os.W_OK):
        raise BadInput(target, "can't be written here: no such folder, or no permission")
    return target


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    Raises BadInput when the folder doesn't exist or can't be written.
    """
    target = writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def existing(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, or BadInput if no such file is there."""
    file = Path(path)
    if not file.is_file():
        raise BadInput(file, "is a folder" if file.is_dir() else "no such file")
    return file
