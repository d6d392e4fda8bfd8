"""Lower a network to a chip's integers: ``python deploy/quantize.py model.nir --chip loihi2 --calibrate x.npy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.table import Table

from spikestrip.command import main, terminal
from spikestrip.errors import Refused
from spikestrip.files import writable

if TYPE_CHECKING:
    from convert.lowering.loihi2 import Choice
    from spikestrip.program import Program

CHECKED = 8  # samples of the calibration set on which spikes are compared and explained
HARDWARE_EXPONENTS = range(-8, 8)
NOISE = (4, 256)  # samples and steps, where no calibration set is given

console = terminal(highlight=False)


@click.command("quantize", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--chip", type=click.Choice(["loihi2"]), required=True, help="Whose integers.")
@click.option("--map", "mapping", type=click.Choice(["stock"]), default="stock", help="Stock lava-nc processes alone.")
@click.option("--calibrate", type=click.Path(path_type=Path), help="x.npy: inputs from which ranges are measured.")
@click.option("--words-a", type=click.IntRange(1, 4), default=2, help="8-bit words of an SSM's A - 1.")
@click.option("--words-bc", type=click.IntRange(1, 4), default=2, help="8-bit words of its B, C and D.")
@click.option("--words", type=click.IntRange(1, 4), default=2, help="8-bit words of every other weight.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: MODEL.q.nir, beside it.")
def command(
    model: Path,
    chip: str,
    mapping: str,
    calibrate: Path | None,
    words_a: int,
    words_bc: int,
    words: int,
    output: Path | None,
) -> int:
    """Write the network in MODEL as a program of integers, and print what was chosen and what it costs in spikes.

    Every backend runs what is written; ``lava`` with stock processes alone. Without --calibrate the ranges are those of
    noise, which says little about real inputs. Exit code 1 if a difference in spikes has no cause that verify knows.
    """
    from convert.formats.nir.writing import write
    from convert.load import load
    from convert.lowering.loihi2 import Words, loihi2
    from simulators.backends.lava.stock import refuses
    from spikestrip import inputs

    target = output or model.with_suffix(".q.nir")
    writable(target, (model, calibrate))
    program = load(model)
    if calibrate is None:
        x = np.random.default_rng(0).normal(size=(*NOISE, *program.input_shape)).astype(np.float32)
        console.print("no --calibrate: ranges are those of N(0, 1) noise, not of your inputs")
    else:
        x = inputs.expand(inputs.read(calibrate, program.input_shape), program.input_shape)
    lowered = loihi2(program, x, Words(words_a, words_bc, words))
    reason = refuses(lowered.program)
    if reason is not None:
        raise Refused(f"{model}", f"{chip}, {mapping}: {reason}")
    write(lowered.program, target)
    console.print(_choices(lowered.choices))
    for remark in lowered.remarks:
        console.print(remark)
    passed = _compare(program, lowered.program, x[:CHECKED])
    console.print(f"{target}: program {lowered.program.sha256[:12]}, integers of {program.sha256[:12]}")
    return 0 if passed else 1


def _choices(choices: list[Choice]) -> Table:
    table = Table("layer", "matrix", "exponents of its words", "largest error / largest value")
    for choice in choices:
        beyond = any(exponent not in HARDWARE_EXPONENTS for exponent in choice.exponents)
        exponents = ", ".join(map(str, choice.exponents)) + (" (a chip is said to take -8..7)" if beyond else "")
        table.add_row(choice.layer, choice.matrix, exponents, f"{choice.error:.1e}")
    return table


def _compare(program: Program, quantised: Program, x: np.ndarray) -> bool:
    """Both programs on x: values that left their width, and each differing spike with its cause. True if all have."""
    from deploy.verify import verify
    from simulators.run import simulate

    reference = simulate(program, x)
    trace = simulate(quantised, x, attrs={"quantised_from": program.sha256})
    verdict = verify(reference, trace, program, trace_program=quantised)
    console.print(f"on {len(x)} samples of {x.shape[1]} steps of the calibration set:")
    table = Table("layer", "spikes, float", "integers", "differ", "agreement (F1)", "causes", "saturations")
    saturated = {name: int(counters.get("saturations", np.zeros(1)).sum()) for name, counters in trace.events.items()}
    for name, train in reference.spikes.items():
        ours = trace.spikes[name]
        both, either = int(np.count_nonzero(train & ours)), int(np.count_nonzero(train) + np.count_nonzero(ours))
        causes = ", ".join(f"{cause} {spikes:,}" for cause, spikes in verdict.layers[name]["causes"].items())
        table.add_row(
            name, f"{np.count_nonzero(train):,}", f"{np.count_nonzero(ours):,}",
            f"{np.count_nonzero(train != ours):,}", f"{2 * both / max(either, 1):.4f}", causes, f"{saturated[name]:,}",
        )  # fmt: skip
    console.print(table)
    others = {name: n for name, n in saturated.items() if n and name not in reference.spikes}
    console.print(f"saturations in other layers: {others or 'none'}")
    answers = [np.asarray(each.output).argmax(axis=-1) for each in (reference, trace)]
    console.print(f"answers changed: {np.count_nonzero(answers[0] != answers[1])} of {answers[0].size}")
    for sentence in verdict.failures:
        console.print(f"verify: {sentence}")
    return verdict.passed


if __name__ == "__main__":
    main(command)
