"""Neurons over many steps in one compiled loop: the operations of each ``step``, in its order, to the bit.

Streams are (T, B, N), time first; parameters (N,); states (B, N) change in place. numba fuses no multiply-add, and
``one`` keeps float32 float32: an integer would make it float64.
"""

from __future__ import annotations

import numpy as np

from spikestrip.compiled import compiled


@compiled
def lif(x, u, decay, threshold, gain, bias, v_reset, soft, strict, spikes):  # type: ignore[no-untyped-def]
    """LIF.step over x; spikes (T, B, N) is written."""
    steps, batch, size = x.shape
    one = np.ones(1, x.dtype)[0]
    for t in range(steps):
        for b in range(batch):
            for n in range(size):
                potential = decay[n] * u[b, n] + gain[n] * x[t, b, n] + bias[n]
                fires = potential > threshold[n] if strict else potential >= threshold[n]
                s = one if fires else one - one
                spikes[t, b, n] = s
                if soft:
                    u[b, n] = potential - threshold[n] * s
                else:
                    u[b, n] = potential * (one - s) + v_reset[n] * s


@compiled
def refractory(x, u, r, decay, threshold, decay_r, inhibition, soft, spikes):  # type: ignore[no-untyped-def]
    """RefractoryLIF.step over x; spikes (T, B, N) is written."""
    steps, batch, size = x.shape
    one = np.ones(1, x.dtype)[0]
    for t in range(steps):
        for b in range(batch):
            for n in range(size):
                potential = decay[n] * u[b, n] + x[t, b, n] - inhibition[n] * r[b, n]
                s = one if potential >= threshold[n] else one - one
                spikes[t, b, n] = s
                u[b, n] = potential - threshold[n] * s if soft else potential
                r[b, n] = decay_r[n] * r[b, n] + s


@compiled
def leaky(x, u, decay, gain, bias, y):  # type: ignore[no-untyped-def]
    """LeakyIntegrator.step over x; y (T, B, N) is written."""
    steps, batch, size = x.shape
    for t in range(steps):
        for b in range(batch):
            for n in range(size):
                u[b, n] = decay[n] * u[b, n] + gain[n] * x[t, b, n] + bias[n]
                y[t, b, n] = u[b, n]
