"""Training curves of run folders in one figure: ``python benchmarks/curves.py runs/* --out curves.png``."""

from __future__ import annotations

import csv
import math
import tomllib
from pathlib import Path

import click

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import existing


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Figure to write, .png or .svg.")
def command(folders: tuple[Path, ...], out: Path) -> None:
    """Accuracy and spiking rate while training (lines) and on validation after every epoch (dots), a panel a run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    columns = min(3, len(folders))
    rows = math.ceil(len(folders) / columns)
    size = (4.2 * columns, 2.9 * rows)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained")
    for axis, folder in zip(axes.flat, folders, strict=False):
        experiment = tomllib.loads(existing(folder / "experiment.toml").read_text())
        curve, epochs = _rows(folder / "curve.csv"), _rows(folder / "epochs.csv")
        ends = [max(row["step"] for row in curve if row["epoch"] == epoch["epoch"]) for epoch in epochs]
        axis.plot([row["step"] for row in curve], [row["accuracy"] for row in curve], color="#3465a4", label="training")
        if "validation_accuracy" in epochs[0]:
            axis.plot(ends, [row["validation_accuracy"] for row in epochs], "o", color="#cc0000", label="validation")
        axis.plot([row["step"] for row in curve], [row["spiking_rate"] for row in curve], color="#73d216",
                  label="spiking rate")  # fmt: skip
        for end in ends[:-1]:
            axis.axvline(end, color="#d3d7cf", linewidth=0.8, zorder=0)
        axis.set(title=f"{folder.name}, {experiment['model']}", ylim=(0, 1), xlabel="batches")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(folders) :]:
        axis.set_visible(False)
    axes.flat[0].legend(frameon=False, fontsize="small", loc="center right")
    figure.savefig(out, dpi=110)


def _rows(path: Path) -> list[dict[str, float]]:
    with open(existing(path), newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if name != "method"} for row in csv.DictReader(file)]
    if not rows:
        raise BadInput(path, "holds no row")
    return rows


if __name__ == "__main__":
    main(command)
