"""The layer stepped through time in float64: the form that the stripped network runs."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from train.ssm.discretisation import Discrete, Float64


@njit
def _steps(x, a_re, a_im, b_re, b_im, c_re, c_im, d):  # type: ignore[no-untyped-def]
    """x (B, H, L), mode arrays (H, N), N a power of two. The sum over modes is a halving-tree sum.

    The order of every operation is that of the iterative layer, so that both give the same bits.
    """
    batch, channels, length = x.shape
    modes = a_re.shape[1]
    y = np.empty_like(x)
    for row in range(batch * channels):
        b, h = row // channels, row % channels
        re, im, part = np.zeros(modes), np.zeros(modes), np.empty(modes)
        for t in range(length):
            u = x[b, h, t]
            for n in range(modes):
                previous = re[n]
                re[n] = a_re[h, n] * previous + (b_re[h, n] * u - a_im[h, n] * im[n])
                im[n] = a_re[h, n] * im[n] + (b_im[h, n] * u + a_im[h, n] * previous)
                part[n] = 2.0 * c_re[h, n] * re[n] - 2.0 * c_im[h, n] * im[n]
            half = modes // 2
            while half:
                for n in range(half):
                    part[n] += part[n + half]
                half //= 2
            y[b, h, t] = part[0] + d[h] * u
    return y


def _power_of_two(modes_first: Float64) -> Float64:
    """(N, H) -> (H, M), zeros added up to the next power of two M."""
    modes = modes_first.shape[0]
    padding = (1 << (modes - 1).bit_length()) - modes
    return np.ascontiguousarray(np.pad(modes_first.T, ((0, 0), (0, padding))))


def recurrence(discrete: Discrete, x: Tensor) -> Tensor:
    """y (B, H, L) of x (B, H, L): float64 arithmetic on the CPU, the result in the dtype and on the device of x."""
    a_re, a_im, b_re, b_im, c_re, c_im = (_power_of_two(array) for array in discrete[:6])
    inputs = np.ascontiguousarray(x.double().cpu().numpy())
    y = _steps(inputs, a_re, a_im, b_re, b_im, c_re, c_im, discrete.d)
    return torch.from_numpy(y).to(x)
