"""What the papers leave open about SDN and PMBC, measured: the tables of docs/findings.md.

python benchmarks/papers_questions.py TABLE ...    prints the named tables (all without a name) as Markdown
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import click
import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from spikestrip.command import main
from train import sdn as grading
from train.neurons import methods, pmbc, sdn
from train.neurons.neuron import Neuron

Row = tuple[object, ...]


def normal(rows: int, length: int, correlation: float = 0.0, seed: int = 0) -> Tensor:
    """Stationary Gaussian noise (rows, length) of variance 1, AR(1) with this correlation of neighbours."""
    x = torch.randn(length, rows, generator=torch.Generator().manual_seed(seed))
    for t in range(1, length if correlation else 0):
        x[t] = correlation * x[t - 1] + (1 - correlation**2) ** 0.5 * x[t]
    return x.T.contiguous()


def neuron(reset: str, tau: float, tau_r: float = 0.9, uth: float = 1.0) -> Neuron:
    return Neuron(reset, *(torch.tensor(value) for value in (tau, 1.0, tau_r, uth)))  # type: ignore[arg-type]


def compressed(x: Tensor, cell: Neuron) -> Row:
    """Firing rate, iterations until the bounds meet, share of steps that are left to the neuron itself where bounds
    stop to pay, undecided after 3 and 8."""
    alone, report = pmbc.Report(), pmbc.Report()
    pmbc.run(x[None], cell, FOREVER, alone)
    spikes = pmbc.run(x[None], cell, report=report)
    return (
        f"{float(spikes.mean()):.3f}",
        alone.iterations,
        f"{report.undecided / report.steps:.2%}",
        *(undecided(x, cell, m) for m in (3, 8)),
    )


def undecided(x: Tensor, cell: Neuron, iterations: int) -> str:
    report = pmbc.Report()
    pmbc.run(x[None], cell, iterations, report)
    return f"{report.undecided / report.steps:.2%}"


FOREVER = 1 << 20  # iterations: more than any row takes
PMBC_HEAD = ("rate", "iterations", "left to the neuron", "undecided after 3", "after 8")


def lengths() -> Iterable[Row]:
    yield ("neuron", "L", *PMBC_HEAD)
    cells = {"soft .125": neuron("soft", 0.125), "soft .9": neuron("soft", 0.9)}
    cells["refractory .1/.9"] = neuron("refractory", 0.1)
    for name, cell in cells.items():
        for length in (1024, 4096, 16384, 65536, 131072):
            x = normal(4, length)
            yield (name, length, *compressed(x, cell))


def decays() -> Iterable[Row]:
    yield ("reset", "tau", "tau_r", *PMBC_HEAD)
    x = normal(32, 4096)
    for tau in (0.1, 0.5, 0.9, 0.99):
        yield ("soft", tau, "-", *compressed(x, neuron("soft", tau)))
    for tau in (0.1, 0.5, 0.9):
        for tau_r in (0.5, 0.9, 0.95, 0.99):
            cell = neuron("refractory", tau, tau_r)
            yield ("refractory", tau, tau_r, *compressed(x, cell))


def inhibitions() -> Iterable[Row]:
    yield ("uth", *PMBC_HEAD)
    x = normal(32, 4096)
    for uth in (0.0, 0.1, 0.3, 1.0, 3.0):
        cell = neuron("refractory", 0.1, 0.9, uth)
        yield (uth, *compressed(x, cell))


def signals() -> Iterable[Row]:
    yield ("mean", "std", "correlation", *PMBC_HEAD)
    cell = neuron("refractory", 0.1)
    for mean, std in ((0.0, 0.5), (0.0, 1.0), (0.0, 3.0), (1.0, 0.1), (1.0, 1.0)):
        for correlation in (0.0, 0.95):
            x = mean + std * normal(32, 4096, correlation)
            yield (mean, std, correlation, *compressed(x, cell))


def iterations() -> Iterable[Row]:
    yield ("neuron", "method", "undecided steps", "missed spikes", "of all spikes", "CPU seconds")
    x = normal(64, 8192)[None]
    for name, cell in (("soft .125", neuron("soft", 0.125)), ("refractory .1/.9", neuron("refractory", 0.1))):
        total = int(methods.spikes(x, cell, "scan").sum())  # compiles, too
        start = time.process_time()
        methods.spikes(x, cell, "scan")
        yield (name, "scan", "-", 0, "0%", f"{time.process_time() - start:.4f}")
        for m in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, FOREVER, None):
            pmbc.run(x[..., :64], cell, m, pmbc.Report())  # compiles
            report = pmbc.Report()
            start = time.process_time()
            pmbc.run(x, cell, m, report)
            seconds = time.process_time() - start
            share = report.undecided / report.steps
            label = f"M = {m}" if m else f"while they pay, {report.iterations}"
            label = f"until they meet, {report.iterations}" if m == FOREVER else label
            yield (name, label, f"{share:.2%}", report.missed, f"{report.missed / total:.2%}", f"{seconds:.4f}")


SDN_HEAD = ("wrong steps", "sequences", "rate", "guessed rate", "F1")


def graded(entry: dict) -> Row:
    return (
        f"{entry['wrong_steps']:.1e}",
        f"{entry['wrong_sequences']:.0%}",
        f"{entry['rate']:.3f}",
        f"{entry['guessed_rate']:.3f}",
        f"{entry['f1']:.4f}",
    )


def shipped_on(kinds: dict[str, Tensor]) -> Iterable[Row]:
    surrogate = sdn.shipped("hard", 0.125)
    for entry in grading.grade(surrogate.network, surrogate.tau, surrogate.reset, kinds):
        yield (entry["input"], *graded(entry))


def scales() -> Iterable[Row]:
    yield ("input", *SDN_HEAD)
    x = normal(512, 1024, seed=9)
    kinds = {f"N(0,{std:g})": std * x for std in (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)}
    kinds |= {f"N({mean:g},1)": mean + x for mean in (-1.0, -0.5, 0.5, 0.9, 1.0, 2.0)}
    kinds |= {f"N({mean:g},.1)": mean + 0.1 * x for mean in (0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1)}
    kinds |= {f"AR(1) {rho:g}": normal(512, 1024, rho, seed=9) for rho in (-0.9, 0.5, 0.8, 0.9, 0.95, 0.99)}
    yield from shipped_on(kinds)


def constants() -> Iterable[Row]:
    yield ("constant input", *SDN_HEAD)
    levels = (0.8, 0.87, 0.876, 0.88, 0.885, 0.89, 0.9, 0.92, 0.95, 0.98, 1.0, 1.05)
    yield from shipped_on({f"{level:g}": torch.full((1, 1024), level) for level in levels})


def nearness() -> Iterable[Row]:
    """Share of wrong steps by the distance of the true potential from the threshold."""
    yield ("distance of u' to vth", "steps", "wrong", "share")
    x = normal(2048, 1024, seed=9)
    leaked, spikes = grading.simulate(0.125, "hard", x)
    distance = (leaked + x - 1).abs()
    wrong = (sdn.shipped("hard", 0.125).network.predict(x) + x >= 1) != (spikes > 0)
    edges = (0.0, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 10.0)
    for low, high in pairwise(edges):
        here = (distance >= low) & (distance < high)
        count, bad = int(here.sum()), int((wrong & here).sum())
        yield (f"{low:g} to {high:g}", count, bad, f"{bad / max(count, 1):.2e}")


def decays_of_sdn() -> Iterable[Row]:
    yield ("reset", "tau", "predicts", *SDN_HEAD)
    kinds = {"N(0,1)": normal(512, 1024, seed=9)}
    cases = [("hard", tau, "potential") for tau in (0.125, 0.25, 0.5, 0.7, 0.9)]
    cases += [
        ("soft", 0.125, "potential"),
        ("soft", 0.5, "potential"),
        ("hard", 0.125, "spike"),
        ("hard", 0.5, "spike"),
    ]
    for reset, tau, predicts in cases:
        network = grading.train(tau, reset, predicts, 10000, 1)  # type: ignore[arg-type]
        yield (reset, tau, predicts, *graded(grading.grade(network, tau, reset, kinds)[0]))


TABLES: dict[str, Callable[[], Iterable[Row]]] = {
    "pmbc-length": lengths,
    "pmbc-decay": decays,
    "pmbc-inhibition": inhibitions,
    "pmbc-input": signals,
    "pmbc-iterations": iterations,
    "sdn-input": scales,
    "sdn-constant": constants,
    "sdn-nearness": nearness,
    "sdn-decay": decays_of_sdn,
}


@click.command()
@click.argument("tables", nargs=-1, type=click.Choice(list(TABLES)))
def command(tables: tuple[str, ...]) -> None:
    """Measure and print the named tables (all without a name) as Markdown."""
    for name in tables or TABLES:
        click.echo(f"\n{name}")
        for i, row in enumerate(tqdm(TABLES[name](), desc=name, unit="row")):
            click.echo("| " + " | ".join(str(cell) for cell in row) + " |")
            if i == 0:
                click.echo("|---" * len(row) + "|")


if __name__ == "__main__":
    main(command)
