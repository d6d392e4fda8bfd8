"""What decides the bits of a run beside the program: the libraries, and how this machine's numpy sums."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from threadpoolctl import threadpool_info

LIBRARIES = ("h5py", "nir", "onnx", "onnxruntime", "torch", "sinabs", "lava-nc", "numba", "scipy")


def versions() -> dict[str, str]:
    """Every library at hand, and what decides the order in which numpy sums."""
    from spikestrip import __version__

    found = {"spikestrip": __version__, "python": platform.python_version(), "machine": platform.machine()}
    found["numpy"] = np.__version__
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas" and "numpy" in pool["filepath"]]
    if blas:
        found["blas"] = " ".join(str(blas[0].get(key)) for key in ("internal_api", "version", "architecture"))
    found["byteorder"] = sys.byteorder
    return found
