"""The integer SSM and LIF over many steps in one compiled loop, where no sum leaves int32 (``looped`` sees to that).

Streams are (T, B, H), time first, in float64; words are (K, N, H) or (K, H), each times the power of two of its
exponent. Products and sums are whole multiples of those powers below 2^53 of them, so that float64 is exact; a floor
changes nothing where the power is 1 or more. States change in place.
"""

from __future__ import annotations

import numpy as np

from spikestrip.compiled import compiled


@compiled
def s4d(x, re, im, a_re, a_im, b_re, b_im, c_re, c_im, d, rounding, y, peak, most):  # type: ignore[no-untyped-def]
    """FixedS4D.step over x where nothing wraps; re, im (B, N, H); y (T, B, H) is written.

    peak (N, H) and most (K,): raised to the largest magnitude of a state, and of a word's scaled readout.
    """
    steps, batch, size = x.shape
    words_a, words_b, words_c, modes = len(a_re), len(b_re), len(c_re), a_re.shape[1]
    read, new_re, new_im = np.empty((words_c, size)), np.empty(size), np.empty(size)
    for b in range(batch):
        for n in range(modes):
            for h in range(size):
                peak[n, h] = max(peak[n, h], abs(re[b, n, h]), abs(im[b, n, h]))
        for t in range(steps):
            u = x[t, b]
            for k in range(words_c):
                for h in range(size):
                    read[k, h] = d[k, h] * u[h]
            for n in range(modes):
                old_re, old_im = re[b, n], im[b, n]
                for h in range(size):
                    new_re[h] = rounding + np.floor(b_re[0, n, h] * u[h])
                    new_im[h] = rounding + np.floor(b_im[0, n, h] * u[h])
                for k in range(1, words_b):
                    for h in range(size):
                        new_re[h] += np.floor(b_re[k, n, h] * u[h])
                        new_im[h] += np.floor(b_im[k, n, h] * u[h])
                for k in range(1, words_a):
                    for h in range(size):
                        new_re[h] += np.floor(a_re[k, n, h] * old_re[h] - a_im[k, n, h] * old_im[h])
                        new_im[h] += np.floor(a_im[k, n, h] * old_re[h] + a_re[k, n, h] * old_im[h])
                for h in range(size):
                    before = old_re[h]
                    old_re[h] += new_re[h] + np.floor(a_re[0, n, h] * before - a_im[0, n, h] * old_im[h])
                    old_im[h] += new_im[h] + np.floor(a_im[0, n, h] * before + a_re[0, n, h] * old_im[h])
                    peak[n, h] = max(peak[n, h], abs(old_re[h]), abs(old_im[h]))
                for k in range(words_c):
                    for h in range(size):
                        read[k, h] += c_re[k, n, h] * old_re[h] + c_im[k, n, h] * old_im[h]
            for k in range(words_c):
                for h in range(size):
                    most[k] = max(most[k], abs(read[k, h]))
            for h in range(size):
                y[t, b, h] = np.floor(read[0, h])
            for k in range(1, words_c):
                for h in range(size):
                    y[t, b, h] += np.floor(read[k, h])


@compiled
def lif(x, v, dv, vth, drive, align, rail, spikes, potentials):  # type: ignore[no-untyped-def]
    """FixedLIF.step over x, whose shifted values int32 holds.

    drive (H,): the shifted bias; align, rail: 2^6 (1 behind a current) and 2^23 - 1.

    spikes (T, B, H) and, unless it is empty, potentials (T, B, H), v', are written.
    """
    steps, batch, size = x.shape
    decay, message, keeps = 4096.0 - dv, rail + 1.0, potentials.size > 0
    for t in range(steps):
        for b in range(batch):
            for h in range(size):
                u = x[t, b, h] * align
                if align > 1.0 and u > message:
                    u -= 2.0 * message
                elif align > 1.0 and u <= -message:
                    u += 2.0 * message
                held = np.trunc(v[b, h] * decay * 2.0**-12) + u + drive[h]
                potential = held
                if held > rail:  # NaN stays what it is, as with clip
                    potential = rail
                elif held < -rail:
                    potential = -rail
                fires = potential > vth * 64.0
                spikes[t, b, h] = 1.0 if fires else 0.0
                if keeps:
                    potentials[t, b, h] = potential
                v[b, h] = 0.0 if fires else potential
