"""Files that are either whole or absent: written beside, then renamed; and reading what others wrote."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spikestrip.errors import BadInput, SpikestripError


def writable(path: str | os.PathLike[str], reads: Iterable[str | os.PathLike[str] | None] = ()) -> Path:
    """``path`` as a Path, or BadInput if no file can be written there: long work asks before it begins.

    ``reads``: the files that the command reads, None for those not given. ``path`` may be none of them, by whatever
    name or link; nor a folder, nor what is there and no file: a device, a pipe, a socket.
    """
    target = Path(path)
    if target.is_dir():
        raise BadInput(target, "is a folder, not a file to write")
    if target.exists() and not target.is_file():
        raise BadInput(target, "is a device, a pipe or a socket, which a file would replace; give another name")
    for read in reads:
        if read is not None and target.exists() and os.path.exists(read) and os.path.samefile(target, read):
            raise BadInput(target, f"is the input itself ({read}); give another name to write to")
    if not os.access(target.parent, os.W_OK):
        raise BadInput(target, "can't be written here: no such folder, or no permission")
    return target


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    Raises BadInput as ``writable``.
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


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write ``array`` as an .npy file, whole or not at all."""
    with atomic(path) as temporary:
        np.save(temporary, array)


def write_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


@contextmanager
def parsing(path: str | os.PathLike[str], reason: str) -> Iterator[None]:
    """Around a parser that is not ours: whatever a damaged or hostile file makes it raise is BadInput(path, reason).

    numpy's, Python's and HDF5's raise what their own code met: TokenError, OverflowError, RecursionError, MemoryError.
    """
    try:
        yield
    except SpikestripError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise BadInput(path, f"{reason} ({said})") from error


def check_text(path: str | os.PathLike[str], value: object) -> None:
    """Raise BadInput(path) where a text in ``value``, or in its lists and dictionaries, would steer a terminal."""
    if isinstance(value, str):
        if any(not one.isprintable() and one not in "\n\t" for one in value):
            raise BadInput(path, f"holds control characters: {value[:80]!r}")
    elif isinstance(value, dict | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            check_text(path, part)


def existing(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, or BadInput if no such file is there."""
    file = Path(path)
    try:
        there = file.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, holds a null
        raise BadInput(file, f"is no name of a file ({getattr(error, 'strerror', None) or error})") from error
    if not there:
        raise BadInput(file, "is a folder" if file.is_dir() else "no such file")
    return file


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an .npy file, in memory. Raises BadInput for anything else: it never unpickles."""
    return np.array(map_array(path))


def map_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The same, left in the file and read where it is looked at."""
    file = existing(path)
    with parsing(file, "is not a whole .npy file of numbers"):
        # mapped: a header that promises more than the file holds is refused before memory is taken
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise BadInput(file, "is an .npz archive; give one .npy array")
    return array


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file; {} where there is no file. Raises BadInput for anything else."""
    file = Path(path)
    if not file.is_file():
        return {}
    with parsing(file, "is not readable JSON"):
        value = json.loads(file.read_text(encoding="utf-8"))
        check_text(file, value)
    if not isinstance(value, dict):
        raise BadInput(file, "is not a JSON object")
    return value


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table in a TOML file. Raises BadInput."""
    file = existing(path)
    with parsing(file, "is not readable TOML"):
        value = tomllib.loads(file.read_text(encoding="utf-8"))
        check_text(file, value)
    return value
