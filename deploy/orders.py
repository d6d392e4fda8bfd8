"""How far the order of events moves a Speck's answers: ``python deploy/orders.py model.q.nir --input x.npy``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.table import Table

from spikestrip.command import MOST, main, terminal
from spikestrip.errors import within

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from spikestrip.program import Program


@dataclasses.dataclass(frozen=True)
class Spread:
    """What several orders of the same events did.

    orders: their names, the synchronous model first; sent: layer -> (orders, B, T, N) numbers of spikes; answers:
    (orders, B), the largest output of the sequence.
    """

    orders: list[str]
    sent: dict[str, np.ndarray]
    answers: np.ndarray

    def apart(self, name: str) -> np.ndarray:
        """(orders,): the share of (sample, step, neuron) in which an order sends another number than the model."""
        trains = self.sent[name]
        return np.asarray((trains != trains[0]).reshape(len(trains), -1).mean(axis=1))

    def undecided(self, name: str) -> float:
        """The share of (sample, step, neuron) in which the orders don't all send the same number."""
        trains = self.sent[name][1:]
        return float((trains != trains[0]).any(axis=0).mean())


def spread(program: Program, x: np.ndarray, seeds: int = 3) -> Spread:
    """Run ``program`` (a Speck's integers) on x step by step, layer-first, time-first, and in ``seeds`` random orders.

    Raises Refused for another program, BadInput for input that isn't numbers of events.
    """
    from simulators.asynchrony import LAYER_FIRST, TIME_FIRST, EventDriven, synchronous

    machine = EventDriven(program)
    runs = {"step by step": synchronous(program, x)}
    runs |= {order: machine.run(x, order) for order in (LAYER_FIRST, TIME_FIRST)}
    runs |= {f"random {seed}": machine.run(x, "random", seed) for seed in range(seeds)}
    answers = [machine.output(sent).reshape(len(x), -1).argmax(axis=1) for sent in runs.values()]
    layers = next(iter(runs.values()))
    return Spread(
        list(runs), {name: np.stack([sent[name] for sent in runs.values()]) for name in layers}, np.array(answers)
    )


@click.command("orders", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="x.npy: numbers of events.")
@click.option("--seeds", type=click.IntRange(0, MOST), default=3, help="Random orders, with seeds from 0.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw how far the orders are apart as a PNG here.")
def command(model: Path, source: Path, seeds: int, plot: Path | None) -> int:
    """Say how far spikes and answers of MODEL, a Speck's integers (quantize), move with the order of events in a step.

    No order is the chip's: what differs between them is what the program of steps can't say about it.
    """
    from convert.load import files, load
    from spikestrip import inputs
    from spikestrip.files import atomic, writable

    if plot is not None:
        writable(plot, (*files(model), source))
    program = load(model)
    x = inputs.expand(inputs.read(source, program.input_shape), program.input_shape)
    with within(model):
        found = spread(program, x, seeds)
    _show(found, terminal(highlight=False))
    if plot is not None:
        with atomic(plot) as path:
            draw(found).savefig(path, format="png", dpi=150)
    return 0


def _show(found: Spread, console: Console) -> None:
    table = Table("layer", *found.orders, "orders disagree")
    for name, trains in found.sent.items():
        cells = (
            f"{train.sum():,}" + (f"\n{apart:.1%} apart" if k else "")
            for k, (train, apart) in enumerate(zip(trains, found.apart(name), strict=True))
        )
        table.add_row(name, *cells, f"{found.undecided(name):.1%}")
    console.print("spikes; apart: of (sample, step, neuron), where the number sent isn't that of the model by steps")
    console.print(table)
    changed = ", ".join(
        f"{order} {np.count_nonzero(answers != found.answers[0])}"
        for order, answers in zip(found.orders[1:], found.answers[1:], strict=True)
    )
    differ = int(np.count_nonzero((found.answers[1:] != found.answers[1]).any(axis=0)))
    console.print(
        f"answers that aren't the model's, of {found.answers.shape[1]}: {changed}; orders disagree on {differ}"
    )


def draw(found: Spread) -> Figure:
    """One group of bars for each layer, one bar for each order: how often it sends another number than the model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 1.5 * len(found.sent), 3.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / (len(found.orders) - 1)
    for k, order in enumerate(found.orders[1:], start=1):
        heights = [100 * found.apart(name)[k] for name in found.sent]
        axes.bar(np.arange(len(heights)) + (k - 1) * width - 0.4 + width / 2, heights, width, label=order)
    axes.set_xticks(np.arange(len(found.sent)), list(found.sent))
    axes.set_ylabel("apart from the model by steps, %")
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main(command)
