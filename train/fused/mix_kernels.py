"""A block after its neuron, over rows (B*L, H): mix of spikes, dropout, residual, BatchNorm; a task's rows lie between
two ``bounds``.

Spikes are bits, one word for W channels of a row, and reach weights as sums of columns: most of them are 0. Every sum
over rows is one of tasks, in float64, so that it depends on no number of threads. H is a multiple of the lanes of a
cache line; arrays are flat. ``mask`` (B*H,): what a sample's channel of the mix is multiplied by; empty for no dropout.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from train.fused.kernels import DIGEST
from train.fused.product import rows_product
from train.neurons._kernels import compiled
from train.neurons._lanes import LINE, W, load_line, lowest, store


@register_jitable(forceinline=True)  # as a function of its own it would count references for every row
def reached_by(words, row, tiles, reached):  # type: ignore[no-untyped-def]
    """The channels that spike, into ``reached``; returns their number."""
    count = 0
    for tile in range(tiles):
        rest = words[row * tiles + tile]
        while rest:
            reached[count] = tile * W + lowest(rest)
            rest &= rest - np.uint32(1)
            count += 1
    return count


@compiled
def forward(first, end, bounds, words, columns, bias, mask, steps, residual, width, y, sums):  # type: ignore[no-untyped-def]
    """y = residual + mask * (columns of spikes + bias); sums (tasks, 2, H): of y, and of squares about the task's own
    mean."""
    DIGEST  # noqa: B018 - numba's cache on disk looks at this file only
    lanes, tiles = LINE // y.itemsize, (width + W - 1) // W
    active = np.empty(tiles * W, np.int64)
    for task in range(first, end):
        begin, after = bounds[task], bounds[task + 1]
        for row in range(begin, after):
            count = reached_by(words, row, tiles, active)
            for i in range(0, width, lanes):
                total = load_line(bias, i)
                for k in range(count):
                    total = total + load_line(columns, active[k] * width + i)
                if mask.size:
                    total = total * load_line(mask, row // steps * width + i)
                store(y, row * width + i, load_line(residual, row * width + i) + total)
        mine = sums[task]
        for i in range(0, width, lanes):
            total = load_line(y, begin * width + i) * 0.0
            squares = total
            for row in range(begin, after):
                total = total + load_line(y, row * width + i)
            mean = total * (1.0 / (after - begin))
            for row in range(begin, after):
                off = load_line(y, row * width + i) - mean
                squares = squares + off * off
            store(mine, i, mean)
            store(mine, width + i, squares)


@compiled
def normalise(first, end, bounds, y, width, scale, shift, out):  # type: ignore[no-untyped-def]
    """out = y * scale + shift of each channel."""
    DIGEST  # noqa: B018
    lanes = LINE // y.itemsize
    for task in range(first, end):
        for row in range(bounds[task], bounds[task + 1]):
            for i in range(0, width, lanes):
                at = row * width + i
                store(out, at, load_line(y, at) * load_line(scale, i) + load_line(shift, i))


@compiled
def sum_gradients(first, end, bounds, grad, starts, y, mean, width, sums):  # type: ignore[no-untyped-def]
    """sums (tasks, 2, H): of the gradient, and of gradient * (y - mean); ``starts``: of the rows of the gradient."""
    DIGEST  # noqa: B018
    lanes = LINE // y.itemsize
    for task in range(first, end):
        mine = sums[task]
        for i in range(0, width, lanes):
            centre = load_line(mean, i)
            total = centre * 0.0
            products = total
            for row in range(bounds[task], bounds[task + 1]):
                g = load_line(grad, starts[row] + i)
                total = total + g
                products = products + g * (load_line(y, row * width + i) - centre)
            store(mine, i, total)
            store(mine, width + i, products)


@compiled
def backward(  # type: ignore[no-untyped-def]
    first, end, bounds, grad, starts, y, mean, width, scale, slope, constant, words, weight, mask, steps,
    origin, grad_y, grad_mix, grad_fired, grad_columns,
):  # fmt: skip
    """grad_y = scale * grad - (y - mean) * slope - constant, grad_mix = mask * grad_y and grad_fired = grad_mix weight,
    from row ``origin`` on; grad_columns (tasks, H * H + H): of columns, then bias. Without a mask grad_mix is grad_y.
    """
    DIGEST  # noqa: B018
    lanes, tiles = LINE // y.itemsize, (width + W - 1) // W
    active = np.empty(tiles * W, np.int64)
    for task in range(first, end):
        mine = grad_columns[task]
        mine[:] = 0
        begin, after = bounds[task], bounds[task + 1]
        for row in range(begin, after):
            count = reached_by(words, row, tiles, active)
            for i in range(0, width, lanes):
                g = load_line(scale, i) * load_line(grad, starts[row] + i)
                centred = load_line(y, row * width + i) - load_line(mean, i)
                g = g - centred * load_line(slope, i) - load_line(constant, i)
                store(grad_y, (row - origin) * width + i, g)
                if mask.size:
                    g = g * load_line(mask, row // steps * width + i)
                    store(grad_mix, (row - origin) * width + i, g)
                store(mine, width * width + i, load_line(mine, width * width + i) + g)
                for k in range(count):
                    to = active[k] * width + i
                    store(mine, to, load_line(mine, to) + g)
        at = (begin - origin) * width
        rows_product(grad_mix, at, weight, grad_fired, at, after - begin, width)
