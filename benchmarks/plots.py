"""The plots of docs/benchmarks.md; some lie beside a benchmark's JSON too."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def growth(points: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds against each axis, and memory against the first, both logarithmic, with a linear slope beside."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    axes = list(dict.fromkeys(row["axis"] for row in points))
    figure, panels = plt.subplots(1, len(axes) + 1, figsize=(4 * (len(axes) + 1), 3.8), layout="constrained")
    for panel, (axis, quantity) in zip(
        panels, [*((axis, "ms") for axis in axes), (axes[0], "peak_bytes")], strict=True
    ):
        own = [row for row in points if row["axis"] == axis and row[quantity]]
        for what in dict.fromkeys(row["what"] for row in own):
            line = [(row["size"], row[quantity]) for row in own if row["what"] == what]
            panel.plot(*zip(*line, strict=True), "o-", markersize=3, label=what)
        sizes = sorted({row["size"] for row in own})
        if sizes:
            low = min(row[quantity] for row in own)
            panel.plot(sizes, [low * size / sizes[0] for size in sizes], ":", color="grey", label="linear")
        panel.set(xscale="log", yscale="log", xlabel=axis, title=quantity.replace("_", " "))
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, fontsize="x-small")
        panel.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize="x-small", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def methods(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds of each method at each size."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row["method"] for row in rows))[::-1]
    sizes = list(dict.fromkeys((row["rows"], row["L"]) for row in rows))
    figure, panel = plt.subplots(figsize=(7, 5), layout="constrained")
    for index, (count, length) in enumerate(sizes):
        own = {row["method"]: row["ms"] for row in rows if (row["rows"], row["L"]) == (count, length)}
        places = [names.index(name) + 0.8 * index / len(sizes) for name in own]
        panel.barh(places, list(own.values()), height=0.8 / len(sizes), label=f"rows {count:,}, L {length:,}")
    panel.set(xscale="log", xlabel="ms", yticks=range(len(names)), yticklabels=names)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=len(sizes), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
