"""The picture of the cores: what each holds, and how full it is."""

from __future__ import annotations

import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.fitting.answer import Answer, Core
from deploy.reporting.plots import INK, QUIET, STYLE

NAMED = 3  # layers of a core that are written into it
COLUMNS = 8


def draw(answer: Answer) -> Figure:
    """One square for each core that is taken; its bars are the shares of each resource, its colour the layer."""
    cores = answer.placed
    columns = min(COLUMNS if len(cores) <= 64 else 2 * COLUMNS, max(len(cores), 1))
    rows = math.ceil(len(cores) / columns) or 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(1.5 * columns, 5), 1.3 * rows + 0.8), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        layers = [name for core in cores for name in core.layers]
        color = {name: matplotlib.colormaps["tab20"](index % 20) for index, name in enumerate(dict.fromkeys(layers))}
        for axis, core in zip(axes, cores, strict=False):
            _core(axis, core, color)
        for axis in axes[len(cores) :]:
            axis.axis("off")
        figure.suptitle(answer.sentence if answer.fits else f"does not fit on a {answer.chip.name}", fontsize=9)
        return figure


def _core(axis: Axes, core: Core, color: dict[str, tuple[float, float, float, float]]) -> None:
    names = list(core.layers)
    shares = [use / most if most else 0 for use, most in core.used.values()]
    axis.barh(range(len(shares)), shares, color=color[names[0]], height=0.7)
    axis.set_yticks(range(len(shares)), [name.replace("_", " ") for name in core.used], fontsize=4)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 1], ["0", "full"], fontsize=5)
    more = f"\n+ {len(names) - NAMED}" if len(names) > NAMED else ""
    axis.set_title(f"{core.index}: " + "\n".join(names[:NAMED]) + more, fontsize=5, loc="left", color=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
        axis.spines[side].set_color(QUIET)
