"""Margins say beforehand which spikes quantisation changes: predicted against seen, on both chips.

python benchmarks/flips.py [--checkpoint zoo/smnist.safetensors] [--plot docs/flips.png] [--json FILE]

Predicted, from the float network alone: each weight is moved at random by up to half a step of the chip's words, and
the potentials of the calibration inputs, replayed on the float run's spikes, say by how much a neuron's potential moves
(root of the mean square). A decision of a held-out input whose margin is m is then predicted to flip with the
probability that a normal number of that deviation exceeds m. Seen: what the integers decide otherwise on the float
run's spikes. Loihi 2: a checkpoint, in both mappings; Speck: the digits network of speck_digits.py, single spikes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.special import erfc
from speck_digits import events
from speck_digits import program as speck_program
from speck_digits import trained as train_speck

from convert.lowering.loihi2 import loihi2
from convert.lowering.loihi2_microcode import microcode
from convert.lowering.speck import speck
from convert.strip import strip
from deploy.certification import certify
from deploy.certification.twin import threshold
from simulators.run import simulate
from spikestrip.execution import Stepper
from spikestrip.operations import S4D, Operation
from spikestrip.program import Program
from train import tasks
from train.checkpoint import load
from train.held_out import held_out

DRAWS = 3  # of moved weights
EDGES = np.exp2(np.arange(-16.0, 3.0))  # of margins, in thresholds
Step = Callable[[float], float]  # of the grid on which an array lies, from its largest value


def two_words(largest: float) -> float:
    """Two words of 8 bits, even numbers, each with an exponent (spikestrip.operations.fixed.rounding.words)."""
    return 2.0 ** (math.ceil(math.log2(max(largest, 1e-30) / 254)) - 6)


def sixteen_bits(largest: float) -> float:
    """Coefficients of 16 bits with a power of two: its step is between this and twice this."""
    return largest * 1.5 * 2.0**-15


def eight_bits(largest: float) -> float:
    """One scale for each core, by which the largest weight becomes 127."""
    return largest / 127


def moved(program: Program, steps: tuple[Step, Step], rng: np.random.Generator) -> Program:
    """The float program with every weight moved by up to half a step; ``steps``: of an SSM's arrays, of all others."""

    def one(operation: Operation) -> Operation:
        changed = {}
        for name, array in operation.arrays().items():
            if name in ("threshold", "decay", "gain", "bias"):
                continue  # folded into the weights, or exact
            centre = 1.0 if name == "a_re" else 0.0  # Abar - 1 is what is kept
            width = steps[not isinstance(operation, S4D)](float(np.abs(array - centre).max()))
            changed[name] = (array + width * rng.uniform(-0.5, 0.5, array.shape)).astype(array.dtype)
        if isinstance(operation, S4D):  # a mode that would grow is kept as it is
            grows = np.hypot(changed["a_re"], changed["a_im"]) >= 1
            for name in ("a_re", "a_im"):
                changed[name] = np.where(grows, operation.arrays()[name], changed[name])
        return dataclasses.replace(operation, **changed)  # type: ignore[type-var]

    layers = tuple(dataclasses.replace(layer, operation=one(layer.operation)) for layer in program.layers)
    return dataclasses.replace(program, layers=layers)


def distances(program: Program, x: np.ndarray, spikes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layer -> (B, T, N) signed distance to firing, in thresholds, replayed on ``spikes``."""
    stepper, found = Stepper(program, len(x)), {name: np.empty(train.shape) for name, train in spikes.items()}
    for t in range(x.shape[1]):
        clamp = {name: train[:, t].reshape(-1, *program.shapes[name]).astype(float) for name, train in spikes.items()}
        stepper.step(x[:, t].astype(float), clamp)
        for name in spikes:
            operation = program.neurons[name]
            excess = operation.excess(np, stepper.before[name], stepper.potentials[name])
            found[name][:, t] = (excess / threshold(operation)).reshape(len(x), -1)
    return found


def deviations(program: Program, x: np.ndarray, steps: tuple[Step, Step]) -> dict[str, np.ndarray]:
    """Layer -> (N,) root of the mean square by which moved weights move a potential, in thresholds."""
    spikes = simulate(program, x).spikes
    right, rng = distances(program, x, spikes), np.random.default_rng(0)
    squares = {name: np.zeros(train.shape[2]) for name, train in spikes.items()}
    for _ in range(DRAWS):
        for name, other in distances(moved(program, steps, rng), x, spikes).items():
            squares[name] += ((other - right[name]) ** 2).mean(axis=(0, 1)) / DRAWS
    return {name: np.sqrt(square) for name, square in squares.items()}


def measured(
    what: str,
    program: Program,
    lower: Callable[[np.ndarray], Program],
    steps: tuple[Step, Step],
    known: np.ndarray,
    x: np.ndarray,
) -> list[dict[str, object]]:
    """A row for each spiking layer: predicted and seen flips, also by margin, and what the certificate says."""
    expected = deviations(program, known, steps)
    twin = lower(known)
    certificate = certify(program, x, ["integers"], twin)
    found = certificate.to_dict()["arithmetics"]["integers"]["layers"]
    free = simulate(twin, x).spikes
    rows = []
    for name, distance in distances(program, x, certificate.spikes).items():
        margin = np.abs(distance)
        chance = erfc(margin / np.maximum(expected[name], 1e-12) / math.sqrt(2)) / 2
        flipped = np.zeros(margin.size, bool)
        flipped[certificate.found["integers"][name].keys] = True
        place = np.digitize(margin.ravel(), EDGES)
        count, seen = (np.bincount(place, weight, EDGES.size + 1) for weight in (None, flipped))
        predicted = np.bincount(place, chance.ravel(), EDGES.size + 1)
        said = found[name]
        rows.append(
            {
                "what": what, "layer": name, "decisions": said["decisions"], "predicted": float(chance.sum()),
                "seen": int(flipped.sum()), "within bound": said["apart"]["within_bound"],
                "unconditional": said["unconditional"],
                "free-running": int(np.count_nonzero(free[name] != certificate.spikes[name])),
                "largest": said["apart"]["largest"], "bound": said["apart"]["bound"],
                "predicted deviation": float(np.sqrt((expected[name] ** 2).mean())),
                "deviation": said["apart"]["root_mean_square"],
                "by margin": {"decisions": count.tolist(), "predicted": predicted.tolist(), "seen": seen.tolist()},
            }
        )  # fmt: skip
    return rows


def on_loihi2(checkpoint: Path, samples: int, calibration: int) -> list[dict[str, object]]:
    loaded = load(checkpoint)
    program = strip(loaded.network, share=True)
    known = tasks.load(str(loaded.task["name"])).train.inputs[:calibration]
    x = held_out(loaded, checkpoint, samples).inputs
    name = checkpoint.stem

    def stock(known: np.ndarray) -> Program:
        return loihi2(program, known).program

    def programmed(known: np.ndarray) -> Program:
        return microcode(program, known).program

    return [
        *measured(f"{name}, loihi2 stock", program, stock, (two_words, two_words), known, x),
        *measured(f"{name}, loihi2 microcode", program, programmed, (sixteen_bits, two_words), known, x),
    ]


def on_speck(samples: int, calibration: int) -> list[dict[str, object]]:
    task = tasks.load("digits")
    (x, labels), (held, _) = (
        (events(np.rint(split.inputs.reshape(-1, 8, 8) * 16)), np.asarray(split.labels))
        for split in (task.train, task.test)
    )
    network = train_speck(torch.from_numpy(x), torch.from_numpy(labels).long(), False, 20, 0)
    program = speck_program(network, False)
    return measured(
        "digits, speck2f",
        program,
        lambda _: speck(program).program,
        (eight_bits, eight_bits),
        x[:calibration],
        held[:samples],
    )


def draw(rows: list[dict[str, object]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    colours = dict(zip(dict.fromkeys(row["what"] for row in rows), plt.rcParams["axes.prop_cycle"].by_key()["color"]))  # noqa: B905
    middles = np.concatenate([[EDGES[0] / 2], EDGES])
    for what, colour in colours.items():
        parts = [row["by margin"] for row in rows if row["what"] == what]
        count, predicted, seen = (
            np.sum([part[key] for part in parts], axis=0)  # type: ignore[index]
            for key in ("decisions", "predicted", "seen")
        )
        some = count > 0
        left.plot(middles[some], (predicted / np.maximum(count, 1))[some], color=colour, label=f"{what}: predicted")
        left.plot(middles[some], (seen / np.maximum(count, 1))[some], "o", color=colour, label=f"{what}: seen")
        pairs = [
            (p, s) for part in parts for p, s in zip(part["predicted"], part["seen"], strict=True) if p >= 0.5 or s  # type: ignore[index]
        ]  # fmt: skip
        right.plot(*np.maximum(np.array(pairs).T, 0.5), "o", color=colour, label=what)
    left.set(xscale="log", yscale="log", xlabel="margin |u' - vth| / vth", ylabel="share that flips", ylim=(1e-7, 1))
    edge = [0.5, max(right.get_xlim()[1], right.get_ylim()[1])]
    right.plot(edge, edge, "--", color="grey", linewidth=1)
    right.set(xscale="log", yscale="log", xlabel="flips predicted, a layer's decisions of like margin", ylabel="seen")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), multiple=True)
@click.option("--samples", default=16, help="Held-out inputs.")
@click.option("--calibration", default=8, help="Training inputs.")
@click.option("--speck/--no-speck", "with_speck", default=True)
@click.option("--plot", type=click.Path(path_type=Path))
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(
    checkpoint: tuple[Path, ...], samples: int, calibration: int, with_speck: bool, plot: Path | None,
    report: Path | None,
) -> None:  # fmt: skip
    torch.set_num_threads(1)
    rows = on_speck(samples, calibration) if with_speck else []
    for path in checkpoint:
        rows += on_loihi2(path, samples, calibration)
    table = Table(*(key for key in rows[0] if key != "by margin"))
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()
                        if key != "by margin"))  # fmt: skip
    Console(width=200).print(table)
    if report is not None:
        report.write_text(json.dumps(rows, indent=1) + "\n")
    if plot is not None:
        draw(rows, plot)


if __name__ == "__main__":
    main()
