"""NIR files run by the importers of others, as published: the oracles of the dialects and of ``as-importer:``."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

PEER = "the importer of {0} is checked only where it is installed: pip install 'spikestrip[peers]'"
DT = 1e-4


def stock_snntorch(path: Path, x: np.ndarray) -> np.ndarray:
    """snnTorch's own import, one step after another; x and the answer (B, T, ...)."""
    snntorch_import = pytest.importorskip("snntorch.import_nir")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it scales
        return _stepped(snntorch_import.import_from_nir(nir.read(path)), x)


def stock_norse(path: Path, x: np.ndarray) -> np.ndarray:
    """Norse's own import at dt = 1e-4, one step after another."""
    norse = pytest.importorskip("norse.torch", reason=PEER.format("norse"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = norse.from_nir(nir.read(path), ignore_warnings=True, dt=DT)
    return _stepped(net, x)


def stock_spikingjelly(path: Path, x: np.ndarray) -> np.ndarray:
    """SpikingJelly's own import, one step after another."""
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason=PEER.format("spikingjelly"))
    return _stepped(exchange.import_from_nir(nir.read(path)), x)


def stock_sinabs(path: Path, x: np.ndarray) -> np.ndarray:
    """Sinabs' own import, whole sequences at once."""
    sinabs_nir = pytest.importorskip("sinabs.nir")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = sinabs_nir.from_nir(nir.read(path), batch_size=x.shape[0])
    with torch.no_grad():
        out, _ = net(torch.tensor(x, dtype=torch.float32).flatten(0, 1))
    return out.numpy().reshape(*x.shape[:2], *out.shape[1:])


def _stepped(net: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    state, out = None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            values, state = net(torch.tensor(x[:, t], dtype=torch.float32), state)
            out.append(values.numpy())
    return np.stack(out, axis=1)


STOCK = {"snntorch": stock_snntorch, "sinabs": stock_sinabs}
"""Those for which we write a dialect."""
IMPORTERS = {**STOCK, "norse": stock_norse, "spikingjelly": stock_spikingjelly}
"""Those that ``as-importer:`` speaks for."""
