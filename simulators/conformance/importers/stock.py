"""How each published importer runs a NIR file: a path and x (B, T, ...) float32 in, its output (B, T, ...) out.

Another importer joins as an entry point of the group ``spikestrip.importers``, a function of the same kind under the
name of its distribution. Versions are those of the distributions.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import nir
import numpy as np

DT = 1e-4
GROUP = "spikestrip.importers"
Run = Callable[[Path, np.ndarray], np.ndarray]


def snntorch(path: Path, x: np.ndarray) -> np.ndarray:
    """snnTorch's own import, one step after another."""
    from snntorch.import_nir import import_from_nir

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it scales
        return _stepped(import_from_nir(nir.read(path)), x)


def norse(path: Path, x: np.ndarray) -> np.ndarray:
    """Norse's own import at dt = 1e-4, one step after another."""
    from norse.torch import from_nir

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = from_nir(nir.read(path), ignore_warnings=True, dt=DT)
    return _stepped(net, x)


def spikingjelly(path: Path, x: np.ndarray) -> np.ndarray:
    """SpikingJelly's own import, one step after another."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return _stepped(import_from_nir(nir.read(path)), x)


def sinabs(path: Path, x: np.ndarray) -> np.ndarray:
    """Sinabs' own import, whole sequences at once."""
    import torch
    from sinabs.nir import from_nir

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = from_nir(nir.read(path), batch_size=x.shape[0])
    with torch.no_grad():
        out, _ = net(torch.tensor(x, dtype=torch.float32).flatten(0, 1))
    return out.numpy().reshape(*x.shape[:2], *out.shape[1:])


def nirtorch(path: Path, x: np.ndarray) -> np.ndarray:
    """nirtorch with its own default node map, one step after another."""
    from nirtorch import nir_to_torch

    return _stepped(nir_to_torch(nir.read(path), {}), x)


OURS: dict[str, Run] = {
    "snntorch": snntorch,
    "sinabs": sinabs,
    "norse": norse,
    "spikingjelly": spikingjelly,
    "nirtorch": nirtorch,
}
"""Those that are driven here."""


def installed() -> dict[str, tuple[str, Run]]:
    """Name -> (version, how to run it), of every importer that is installed here; plug-ins last."""
    found = {name: (number, run) for name, run in OURS.items() if (number := version_of(name)) is not None}
    for point in entry_points(group=GROUP):
        found[point.name] = (version_of(point.name) or "unknown version", point.load())
    return found


def version_of(distribution: str) -> str | None:
    """None where it isn't installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _stepped(net: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    import torch

    state, out = None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            values, state = net(torch.tensor(x[:, t], dtype=torch.float32), state)
            out.append(values.numpy())
    return np.stack(out, axis=1)
