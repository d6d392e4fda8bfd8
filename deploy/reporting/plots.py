"""The raster of two traces as a figure, for notebooks; and how our figures look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from spikestrip.errors import BadInput
from spikestrip.trace import Trace

INK, QUIET, ONLY_A, ONLY_B = "#1f2933", "#9aa5b1", "#c2571a", "#1d6fa5"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "spikestrip",
}
NEURONS = 240  # neurons of a layer that are drawn


def raster(a: Trace, b: Trace, sample: int = 0) -> Figure:
    """Spikes of one sample in two traces, layer by layer: a neuron's row, a step's column; a difference in colour.

    A ring marks each layer's first difference. Raises BadInput where the traces are not of the same layers and shape.
    """
    if {name: train.shape for name, train in a.spikes.items()} != {n: train.shape for n, train in b.spikes.items()}:
        raise BadInput("raster", "the two traces are not of the same layers, samples and steps")
    batch = len(a.input)
    if not a.spikes or not 0 <= sample < batch:
        raise BadInput("raster", f"there is no sample {sample} with spikes; the traces hold {batch} samples")
    names = tuple(str(trace.attrs.get("backend", role)) for trace, role in ((a, "first"), (b, "second")))
    return _raster(a.spikes, b.spikes, sample, names)


def _raster(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], sample: int, names: tuple[str, ...]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.6 + 2.0 * len(a)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(len(a), 1, sharex=True))
        for axis, name in zip(axes, a, strict=True):
            _layer(axis, name, a[name][sample, :, :NEURONS], b[name][sample, :, :NEURONS])
        axes[-1].set_xlabel("step")
        marks = [axes[0].scatter([], [], s=14, marker="s", color=color) for color in (INK, ONLY_A, ONLY_B)]
        figure.legend(
            marks, ("both", f"only {names[0]}", f"only {names[1]}"), loc="outside upper right", ncols=3, frameon=False
        )
        return figure


def _layer(axis: Axes, name: str, a: np.ndarray, b: np.ndarray) -> None:
    both = (a & b).T
    axis.imshow(
        both,
        aspect="auto",
        cmap=ListedColormap(["white", "#4b5763"]),
        interpolation="nearest",
        vmin=0,
        vmax=1,
        origin="lower",
    )
    for only, color in (((a & ~b & 1), ONLY_A), ((b & ~a & 1), ONLY_B)):
        step, neuron = np.nonzero(only)
        axis.scatter(step, neuron, s=9, marker="s", color=color, linewidths=0, zorder=3)
    different = np.argwhere(a != b)
    if len(different):
        step, neuron = different[0]
        axis.scatter(
            [step], [neuron], s=140, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4, clip_on=False
        )
    cut = f" (first {NEURONS} neurons)" if a.shape[1] == NEURONS else ""
    axis.set_title(f"{name}{cut}: {len(different)} of {a.size:,} differ", loc="left", fontsize=9)
    axis.set_ylabel("neuron")
