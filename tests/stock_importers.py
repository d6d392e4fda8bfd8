"""NIR files run by the importers of others, as published: the oracles of the dialects."""

from __future__ import annotations

import warnings
from pathlib import Path

import nir
import numpy as np
import pytest
import torch


def stock_snntorch(path: Path, x: np.ndarray) -> np.ndarray:
    """snnTorch's own import, one step after another; x and the answer (B, T, ...)."""
    snntorch_import = pytest.importorskip("snntorch.import_nir")
    net, state, out = snntorch_import.import_from_nir(nir.read(path)), None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            spikes, state = net(torch.tensor(x[:, t], dtype=torch.float32), state)
            out.append(spikes.numpy())
    return np.stack(out, axis=1)


def stock_sinabs(path: Path, x: np.ndarray) -> np.ndarray:
    """Sinabs' own import, whole sequences at once."""
    sinabs_nir = pytest.importorskip("sinabs.nir")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = sinabs_nir.from_nir(nir.read(path), batch_size=x.shape[0])
    with torch.no_grad():
        out, _ = net(torch.tensor(x, dtype=torch.float32).flatten(0, 1))
    return out.numpy().reshape(*x.shape[:2], *out.shape[1:])


STOCK = {"snntorch": stock_snntorch, "sinabs": stock_sinabs}
