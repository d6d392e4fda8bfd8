"""Importers of others as oracles of the dialects and of ``as-importer:``; tests of one not installed are skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from simulators.conformance.importers.stock import OURS, installed

PEER = "the importer of {0} is checked only where it is installed: pip install 'spikestrip[peers]'"


def _run(name: str, path: Path, x: np.ndarray) -> np.ndarray:
    if name not in installed():
        pytest.skip(PEER.format(name))
    return OURS[name](path, x)


Run = Callable[[Path, np.ndarray], np.ndarray]
STOCK: dict[str, Run] = {name: partial(_run, name) for name in ("snntorch", "sinabs")}
"""Those for which we write a dialect."""
IMPORTERS: dict[str, Run] = {name: partial(_run, name) for name in ("snntorch", "sinabs", "norse", "spikingjelly")}
"""Those that ``as-importer:`` speaks for."""
stock_sinabs = STOCK["sinabs"]
