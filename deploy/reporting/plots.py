"""The pictures of the report, as text that stands inside the page: SVG, and PNG where there is a dot for each spike."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from deploy.reporting.words import number
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


def raster_image(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], sample: int, names: tuple[str, ...]) -> str:
    """The raster of two sides' spikes as an <img> with the PNG inside."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        _raster(a, b, sample, names).savefig(buffer, format="png", dpi=150)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="Spikes of sample {sample}, {names[0]} against {names[1]}" src="data:image/png;base64,{data}">'


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


def rates(by_run: Mapping[str, Mapping[str, float]]) -> str:
    """Spiking rate of each layer, one bar for each run. Returns an <svg>."""
    layers = list(next(iter(by_run.values())))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.9 + 0.45 * len(layers)), layout="constrained")
        axis = figure.subplots()
        height = 0.8 / len(by_run)
        for index, (run, values) in enumerate(by_run.items()):
            places = np.arange(len(layers)) + (index - (len(by_run) - 1) / 2) * height
            color = {"parallel": ONLY_A, "iterative": ONLY_B}.get(run, INK)
            bars = axis.barh(places, [100 * values[layer] for layer in layers], height * 0.9, color=color, label=run)
            axis.bar_label(bars, fmt="%.2f%%", padding=3, fontsize=8)
        axis.set_yticks(range(len(layers)), layers)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set_xlabel("neurons that fire in a step, %")
        if len(by_run) > 1:
            figure.legend(loc="outside upper right", ncols=2, frameon=False)
        return _svg(figure)


def events(by_layer: Mapping[str, Mapping[str, float]], counters: tuple[str, ...]) -> str:
    """Events of each layer for one sample, on a logarithmic axis. Returns an <svg>."""
    layers = list(by_layer)
    colors = dict(zip(counters, (ONLY_B, INK, QUIET), strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.9 + 0.34 * len(layers)), layout="constrained")
        axis = figure.subplots()
        for place, layer in enumerate(layers):
            counted = [counter for counter in counters if by_layer[layer].get(counter)]
            height = 0.7 / max(len(counted), 1)
            for index, counter in enumerate(counted):
                at = place + (index - (len(counted) - 1) / 2) * height
                axis.barh(at, by_layer[layer][counter], height, color=colors[counter])
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: number(value))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_yticks(range(len(layers)), layers)
        axis.invert_yaxis()
        axis.set_xlabel("events for one sample")
        bars = [Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
        labels = [counter.replace("_", " ") for counter in counters]
        figure.legend(bars, labels, loc="outside upper right", ncols=3, frameon=False)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
