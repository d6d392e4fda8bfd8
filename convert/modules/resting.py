"""Neurons whose potential starts, and leaks towards, another value than 0, as ones that start at 0."""

from __future__ import annotations

import numpy as np

from spikestrip.errors import Refused
from spikestrip.operations import LIF


def lif(
    path: str,
    decay: np.ndarray,
    gain: np.ndarray,
    threshold: np.ndarray,
    *,
    start: np.ndarray,
    rest: np.ndarray,
    v_reset: np.ndarray | None,
    comparison: str,
) -> LIF:
    """v'[t] = v[t-1] + (1 - decay)*(rest - v[t-1]) + gain*x[t], v[0] = start, as u = v - start. All: one per neuron.

    v_reset None is soft reset, v = v' - threshold. Raises Refused(path, reason) for one that starts elsewhere than 0.
    """
    if v_reset is None and start.any():
        raise Refused(path, "subtracts its threshold and starts at another potential than 0, which no operation says")
    bias = (1 - decay) * (rest - start)
    back = None if v_reset is None else v_reset - start
    return LIF(
        decay,
        threshold - start,
        v_reset=None if back is None or not back.any() else back,
        gain=None if (gain == 1).all() else gain,
        bias=bias if bias.any() else None,
        reset_kind="soft" if v_reset is None else "hard",
        comparison=comparison,  # type: ignore[arg-type]
    )
