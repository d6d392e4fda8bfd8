"""Where the modes of an S4D layer start: the three initialisations of Gu et al. 2022 (arXiv:2206.11893)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frequencies = NDArray[np.float64]


def _lin(d_state: int) -> Frequencies:
    """S4D-Lin: Im A_n = pi*n."""
    return np.pi * np.arange(d_state // 2, dtype=np.float64)


def _inv(d_state: int) -> Frequencies:
    """S4D-Inv: Im A_n = (N/pi) * (N/(2n + 1) - 1), with N = d_state."""
    n = np.arange(d_state // 2, dtype=np.float64)
    return d_state / np.pi * (d_state / (2 * n + 1) - 1)


def _legs(d_state: int) -> Frequencies:
    """S4D-LegS: the eigenvalues of the normal part of HiPPO-LegS, -I/2 + S, whose S is skew:

    S_nk = -sqrt((n + 1/2)(k + 1/2)) for n > k, and S_kn = -S_nk. Of each conjugate pair the one above the real axis
    is kept, the fastest first.
    """
    root = np.sqrt(np.arange(d_state, dtype=np.float64) + 0.5)
    below = np.tril(np.outer(root, root), -1)
    frequencies: Frequencies = np.linalg.eigvalsh(1j * (below - below.T)).astype(np.float64)
    return frequencies[::-1][: d_state // 2].copy()


# Imaginary parts of A by name; the real part is -1/2 in all three.
INITIALISATIONS = {"lin": _lin, "inv": _inv, "legs": _legs}
