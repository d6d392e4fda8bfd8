"""Neurons over many steps in one compiled loop: the operations of each ``step``, in its order, to the bit.

Streams are (T, B, N), time first; parameters (N,); states (B, N) change in place. numba fuses no multiply-add, and
``one`` keeps float32 float32: an integer would make it float64. A neuron is free, and writes its ``spikes``, where
``seen`` is None, which numba compiles apart; else it is clamped to them, and writes into ``seen`` its u' of every step
and the states that the step found.
"""

from __future__ import annotations

import numpy as np

from spikestrip.compiled import compiled


@compiled
def lif(x, u, decay, threshold, gain, bias, v_reset, soft, strict, spikes, seen=None):  # type: ignore[no-untyped-def]
    """LIF.step over x; seen: u', u, each (T, B, N)."""
    steps, batch, size = x.shape
    one = np.ones(1, x.dtype)[0]
    for t in range(steps):
        for b in range(batch):
            for n in range(size):
                potential = decay[n] * u[b, n] + gain[n] * x[t, b, n] + bias[n]
                if seen is None:
                    fires = potential > threshold[n] if strict else potential >= threshold[n]
                    spikes[t, b, n] = one if fires else one - one
                else:
                    seen[0][t, b, n], seen[1][t, b, n] = potential, u[b, n]
                s = spikes[t, b, n]
                if soft:
                    u[b, n] = potential - threshold[n] * s
                else:
                    u[b, n] = potential * (one - s) + v_reset[n] * s


@compiled
def refractory(x, u, r, decay, threshold, decay_r, inhibition, soft, spikes, seen=None):  # type: ignore[no-untyped-def]
    """RefractoryLIF.step over x; seen: u', u, r, each (T, B, N)."""
    steps, batch, size = x.shape
    one = np.ones(1, x.dtype)[0]
    for t in range(steps):
        for b in range(batch):
            for n in range(size):
                potential = decay[n] * u[b, n] + x[t, b, n] - inhibition[n] * r[b, n]
                if seen is None:
                    spikes[t, b, n] = one if potential >= threshold[n] else one - one
                else:
                    seen[0][t, b, n], seen[1][t, b, n], seen[2][t, b, n] = potential, u[b, n], r[b, n]
                s = spikes[t, b, n]
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
