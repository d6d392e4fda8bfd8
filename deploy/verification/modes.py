"""The bound of an S4D over many steps in one compiled loop: what the rule (``rules``) says of each step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikestrip.compiled import compiled
from spikestrip.operations import S4D, State


def errors_over(
    op: S4D, began: State, e: np.ndarray, x: np.ndarray, memory: dict[str, Any], unit: float, parallel: bool
) -> np.ndarray:
    """Error (T, B, H) of what ``op`` sends, but for an FFT's: e, x (T, B, H) error and value of what enters it.

    began: its states before the first step. ``memory`` has the errors of the states, and is carried on.
    """
    parameters = [np.asarray(array, np.float64) for array in (op.a_re, op.a_im, op.b_re, op.b_im)]
    a, b = (np.hypot(re, im) for re, im in (parameters[:2], parameters[2:]))
    readout = 2 * np.hypot(op.c_re, op.c_im)
    re, im = (np.array(began[name], np.float64) for name in ("re", "im"))
    error = np.array(memory.get("h", np.zeros_like(re)))
    levels = math.ceil(math.log2(max(a.shape[0], 2)))
    out = np.empty_like(x)
    _kernel(
        np.ascontiguousarray(e), np.ascontiguousarray(x), re, im, error, *parameters, a, b, readout,
        np.abs(np.asarray(op.d, np.float64)), unit, levels + 5.0, parallel, out,
    )  # fmt: skip
    memory["h"] = error
    return out


@compiled
def _kernel(  # type: ignore[no-untyped-def]
    e, x, re, im, error, a_re, a_im, b_re, b_im, a, b, readout, d, unit, roundings, parallel, out
):
    """States ``re``, ``im`` and their ``error``, (B, M, H), change in place, and ``out`` (T, B, H) is written."""
    steps, batch, width = x.shape
    modes = a.shape[0]
    magnitude = np.sqrt(re * re + im * im)
    read, size = np.empty(width), np.empty(width)
    for t in range(steps):
        for k in range(batch):
            read[:] = 0
            size[:] = 0
            for m in range(modes):
                for h in range(width):
                    v = x[t, k, h]
                    received = a[m, h] * error[k, m, h] + b[m, h] * e[t, k, h]
                    rounded = 6 * unit * (a[m, h] * magnitude[k, m, h] + b[m, h] * abs(v))
                    left = received + (rounded if parallel or received > 0 else 0.0)
                    before = re[k, m, h]
                    now = a_re[m, h] * before - a_im[m, h] * im[k, m, h] + b_re[m, h] * v
                    other = a_re[m, h] * im[k, m, h] + a_im[m, h] * before + b_im[m, h] * v
                    length = np.sqrt(now * now + other * other)
                    error[k, m, h], re[k, m, h], im[k, m, h], magnitude[k, m, h] = left, now, other, length
                    read[h] += readout[m, h] * left
                    size[h] += readout[m, h] * length
            for h in range(width):
                passed = read[h] + d[h] * e[t, k, h]
                rounded = unit * (roundings * size[h] + 4 * d[h] * abs(x[t, k, h]))
                out[t, k, h] = passed + (rounded if parallel or passed > 0 else 0.0)
