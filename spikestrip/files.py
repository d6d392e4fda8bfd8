"""Files that are either whole or absent: written beside, then renamed; and reading what others wrote."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import tempfile
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spikestrip.errors import BadInput, SpikestripError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LARGEST_TEXT = 256 << 20  # bytes of a JSON or TOML file
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, None)  # numpy's own has no number
NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)  # it isn't damaged, whatever a parser says
HERE = f"{zlib.crc32(platform.node().encode()):08x}"  # this machine, in the names of temporary files


def writable(path: str | os.PathLike[str], reads: Iterable[str | os.PathLike[str] | None] = ()) -> Path:
    """The file that ``path`` names, or BadInput if none can be written there: long work asks before it begins.

    ``reads``: the files that the command reads, None for those not given. ``path`` may be none of them, by whatever
    name or link; nor a folder, nor what is there and no file: a device, a pipe, a socket. A symbolic link stays one:
    what it points at is the file.
    """
    given = target = Path(path)
    if target.is_symlink():
        target = Path(os.path.realpath(given))
        if target.is_symlink():
            raise BadInput(given, "is a symbolic link that leads back to itself")
    if target.is_dir():
        raise BadInput(given, "is a folder, not a file to write")
    if target.exists() and not target.is_file():
        raise BadInput(given, "is a device, a pipe or a socket, which a file would replace; give another name")
    for read in reads:
        if read is not None and target.exists() and os.path.exists(read) and os.path.samefile(target, read):
            raise BadInput(given, f"is the input itself ({read}); give another name to write to")
    if not (target.parent.is_dir() and os.access(target.parent, os.W_OK)):
        raise BadInput(given, "can't be written here: no such folder, or no permission")
    return target


def named(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, beside which others may stand; BadInput where it has no name of its own: "", ".", "/"."""
    if not Path(path).name:
        raise BadInput(repr(os.fspath(path)), "is no name of a file")
    return Path(path)


def distinct(*paths: str | os.PathLike[str] | None) -> None:
    """Raise BadInput where two of the files that a command writes are one; None for those not asked for."""
    seen: set[str] = set()
    for path in paths:
        if path is not None and os.path.realpath(path) in seen:
            raise BadInput(path, "is to be written twice; give two names")
        seen |= {os.path.realpath(path)} if path is not None else set()


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    What is in place is on the disk. What a process that was killed (-9) left here, on its way to the same file, is
    removed too. Raises BadInput as ``writable``, and where there is no room. Libraries that write it themselves, and
    can't bear a disk that is full, are given ``Enduring``.
    """
    target, suffix = writable(path), Path(path).suffix  # by which libraries choose a format
    _remove_abandoned(target, suffix)
    handle, name = tempfile.mkstemp(prefix=f"{_start(target)}{os.getpid()}-", suffix=suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "r+b") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise BadInput(path, f"can't be written ({error.strerror or error}); nothing was") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _start(target: Path) -> str:
    """Of the names of its temporary files, which are no longer than a file system takes if its own isn't."""
    return f".{target.stem[:40]}.{HERE}-"


def _remove_abandoned(target: Path, suffix: str) -> None:
    start = _start(target)
    for file in target.parent.iterdir() if os.name == "posix" else ():
        pid = file.name.removeprefix(start).split("-")[0]
        if file.name.startswith(start) and file.suffix == suffix and pid.isdecimal():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
            except OSError:
                continue  # another's, and alive


class Enduring(io.FileIO):
    """A new file, into which writing never fails: after a failure, nothing is written, and ``check`` raises it.

    HDF5 can't close a file that it couldn't write, and ends the process in its own exit; torch's writer is as helpless.
    The end of a ``with`` checks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failed: OSError | None = None

    def write(self, data: Any, /) -> int:
        """All of ``data``, in as many writes as it takes."""
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest and self._failed is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._failed = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """To ``size`` bytes."""
        try:
            return self.tell() if self._failed else super().truncate(size)
        except OSError as error:
            self._failed = error
            return self.tell()

    def check(self) -> None:
        """Raise what writing failed by."""
        if self._failed is not None:
            raise self._failed

    def __exit__(self, *_: object) -> None:
        self.close()
        self.check()


@contextmanager
def alone(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold ``folder``: BadInput where another process does. The kernel lets go when a process ends, however it does."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(folder, "another run is writing into this folder; wait for it, or name another") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write ``array`` as an .npy file, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 with line ends as they are, on every machine; whole or not at all.

    What no UTF-8 can say, a byte of a file's name that is no letter, is escaped as on a terminal.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode(errors="backslashreplace"))


def write_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


@contextmanager
def parsing(path: str | os.PathLike[str], reason: str) -> Iterator[None]:
    """Around a parser that is not ours: whatever a damaged or hostile file makes it raise is BadInput(path, reason).

    numpy's, Python's and HDF5's raise what their own code met: TokenError, OverflowError, RecursionError, MemoryError.
    """
    try:
        yield
    except (SpikestripError, ImportError):  # what isn't installed is no fault of a file
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in NOT_THE_FILE:
            raise BadInput(path, f"can't be read now ({os.strerror(number)})") from error
        said = " ".join(str(error).split())[:200] or type(error).__name__
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
        value = json.loads(read_text(file))
        check_text(file, value)
    if not isinstance(value, dict):
        raise BadInput(file, "is not a JSON object")
    return value


def read_text(file: Path) -> str:
    """What a file of ours says, as UTF-8. Raises what Python does, and BadInput where it is larger than any."""
    if file.stat().st_size > LARGEST_TEXT:
        raise BadInput(file, f"has more than {LARGEST_TEXT >> 20} MiB, which no text of ours has")
    return file.read_text(encoding="utf-8")


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table in a TOML file. Raises BadInput."""
    file = existing(path)
    with parsing(file, "is not readable TOML"):
        value = tomllib.loads(read_text(file))
        check_text(file, value)
    return value
