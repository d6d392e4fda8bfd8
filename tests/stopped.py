"""Trains as ``train/run.py`` does, and stops as by Ctrl-C once the state after epoch N is kept: N, its arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from spikestrip.command import main
from train.folder import RunFolder
from train.loop import Progress
from train.run import command


@contextmanager
def stopping_after(epochs: int) -> Iterator[None]:
    """Within it, a run is interrupted when its state after so many epochs is kept."""
    saved = RunFolder.save

    def save(self: RunFolder, progress: Progress, state: dict[str, Any]) -> None:
        saved(self, progress, state)
        if len(progress.epochs) == epochs:
            raise KeyboardInterrupt

    RunFolder.save = save  # type: ignore[method-assign]
    try:
        yield
    finally:
        RunFolder.save = saved  # type: ignore[method-assign]


if __name__ == "__main__":
    with stopping_after(int(sys.argv[1])):
        main(command, sys.argv[2:])
