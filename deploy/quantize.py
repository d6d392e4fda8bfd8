"""Lower a network to a chip's integers: ``python deploy/quantize.py model.nir --chip loihi2 --calibrate x.npy``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.table import Table

from spikestrip.command import main, terminal
from spikestrip.errors import BadInput, Refused, within
from spikestrip.files import distinct, named, writable

if TYPE_CHECKING:
    from convert.lowering.loihi2 import Choice
    from convert.lowering.speck import Core
    from deploy.fitting.split import Split
    from spikestrip.program import Program
    from spikestrip.scales import Scales
    from train.checkpoint import Checkpoint

CHECKED = 8  # samples of the calibration set on which spikes are compared and explained
NOISE = (4, 256)  # samples and steps, where no calibration set is given
EVENTS = 0.1  # of a Speck's inputs have an event in a step, where no calibration set is given

console = terminal(highlight=False)


@click.command("quantize", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--chip", type=click.Choice(["loihi2", "speck2e", "speck2f"]), required=True, help="Whose integers.")
@click.option(
    "--map",
    "mapping",
    type=click.Choice(["stock", "microcode"]),
    default="stock",
    help="Loihi 2: stock lava-nc processes alone, or programmable neurons.",
)
@click.option(
    "--calibrate", type=click.Path(path_type=Path), help="x.npy: inputs on which spikes are compared; Loihi 2's ranges."
)
@click.option("--words-a", type=click.IntRange(1, 4), default=2, help="8-bit words of an SSM's A - 1 (stock).")
@click.option("--words-bc", type=click.IntRange(1, 4), default=2, help="8-bit words of its B, C and D (stock).")
@click.option("--words", type=click.IntRange(1, 4), default=2, help="8-bit words of every other weight.")
@click.option(
    "--cut", help="Speck: run what leads to this layer on the host and the rest on the chip; longest: as much as fits."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: MODEL.q.nir, beside it.")
@click.option("--scaled", type=click.Path(path_type=Path), help="Write MODEL, a checkpoint, here with the scales that "
              "were chosen (loihi2, stock): what train --quantize starts from.")  # fmt: skip
def command(
    model: Path,
    chip: str,
    mapping: str,
    calibrate: Path | None,
    words_a: int,
    words_bc: int,
    words: int,
    cut: str | None,
    output: Path | None,
    scaled: Path | None,
) -> int:
    """Write the network in MODEL as a program of integers, and print what was chosen and what it costs in spikes.

    A checkpoint that was fine-tuned by train --quantize carries its scales: the integers are those it was trained with.

    Every backend runs what is written: ``lava`` Loihi 2's by stock processes alone, or by processes of ours that do
    what microcode would; ``speck`` a Speck's with sinabs' layers. Without --calibrate inputs are noise, which says
    little about real ones. Exit code 1 if a difference in spikes has no cause that verify knows.
    """
    from convert.formats.nir.writing import write
    from convert.load import files, load
    from spikestrip import inputs

    if mapping == "microcode" and chip != "loihi2":
        raise BadInput("--map", f"is for loihi2: {chip} has one way to hold a network")
    if mapping == "microcode" and (words_a, words_bc) != (2, 2):
        raise BadInput("--words-a, --words-bc", "--map microcode has coefficients of 16 bits in an SSM, not words")
    if cut is not None and (chip == "loihi2" or calibrate is None):
        raise BadInput("--cut", "is for a Speck, and needs --calibrate: the host's part takes inputs of its own")
    target = output or named(model).with_suffix(".q.nir")
    front = named(target).with_suffix(".host.nir")
    for file in (target, *([front] if cut is not None else [])):
        writable(file, (*files(model), calibrate))
    stored = _checkpoint(model)
    if scaled is not None:
        if stored is None or (chip, mapping) != ("loihi2", "stock"):
            raise BadInput("--scaled", "is MODEL, a checkpoint, with the scales of loihi2, stock")
        writable(scaled, (*files(model), calibrate))
        distinct(target, scaled)
    scales = stored.scales if stored is not None else None
    if scales is not None and (chip, mapping) != ("loihi2", "stock"):
        console.print(f"{model} was fine-tuned in the integers of loihi2, stock: these are others")
    program = load(model)
    x = None
    if calibrate is not None:
        x = inputs.expand(inputs.read(calibrate, program.input_shape), program.input_shape)
        if not x.any():
            raise BadInput(calibrate, "holds nothing but 0, which tells no range, and no spikes to compare")
    host = None
    if cut is not None and x is not None:
        parts, x = _split(program, chip, cut, x[:CHECKED])
        program, host = parts.chip, parts.host
    if chip == "loihi2":
        x = _noise(program, scales is not None) if x is None else x
        if scales is not None and mapping == "stock" and (words_a, words_bc, words) != (2, 2, 2):
            raise BadInput("--words", f"{model} carries the words it was trained with")
        lowered, show, scales = _loihi2(model, program, x, mapping, (words_a, words_bc, words), scales)
    elif (words_a, words_bc, words) != (2, 2, 2):
        raise BadInput("--words", f"is for loihi2: {chip} has one word of 8 bits")
    else:
        lowered, show = _speck(model, program, chip)
        x = _events(program) if x is None else x
        if (x < 0).any() or (x != np.floor(x)).any():
            raise Refused(
                calibrate, "the input holds values that aren't numbers of events, and a Speck takes no others"
            )
    if host is not None:
        write(host, front)
    write(lowered, target)
    if scaled is not None and stored is not None:
        from train.checkpoint import save

        save(scaled, dataclasses.replace(stored, scales=scales))
    show()
    passed = _compare(program, lowered, x[:CHECKED])
    if host is not None:
        console.print(f"{front}: the host's part, program {host.sha256[:12]}")
    console.print(f"{target}: program {lowered.sha256[:12]}, integers of {program.sha256[:12]}")
    return 0 if passed else 1


def _split(program: Program, chip: str, cut: str, x: np.ndarray) -> tuple[Split, np.ndarray]:
    """``program`` cut in two, and the spikes that the host's part sends for x (B, T, *input_shape)."""
    from deploy.fitting import chip as chips
    from deploy.fitting.split import handed_over, longest, split

    parts = longest(program, chips.read(chip)) if cut == "longest" else split(program, cut)
    sent = handed_over(program, parts, x)
    console.print(
        f"cut behind {parts.cut}: {len(parts.host.layers)} layers on the host, {len(parts.chip.layers)} on the chip; "
        f"{int(sent.sum()):,} spikes cross on {len(x)} samples; one after the other they send every spike of the whole"
    )
    return parts, sent


def _checkpoint(model: Path) -> Checkpoint | None:
    """The checkpoint, where MODEL is one."""
    from convert.load import CHECKPOINTS

    if model.suffix not in CHECKPOINTS:
        return None
    from train.checkpoint import load

    return load(model)


def _noise(program: Program, held: bool) -> np.ndarray:
    what = "spikes are compared on" if held else "ranges are those of"
    console.print(f"no --calibrate: {what} N(0, 1) noise, not your inputs")
    return np.random.default_rng(0).normal(size=(*NOISE, *program.input_shape)).astype(np.float32)


def _events(program: Program) -> np.ndarray:
    console.print(f"no --calibrate: inputs have an event in {EVENTS:.0%} of their steps, at random, unlike yours")
    drawn: np.ndarray = np.random.default_rng(0).random((*NOISE, *program.input_shape)) < EVENTS
    return drawn.astype(np.float32)


def _loihi2(
    model: Path, program: Program, x: np.ndarray, mapping: str, words: tuple[int, int, int], held: Scales | None
) -> tuple[Program, Callable[[], None], Scales]:
    """The integer program, what prints the choices, and the scales: those ``held``, where there are any."""
    from convert.lowering.loihi2 import Words, loihi2
    from convert.lowering.loihi2_microcode import microcode
    from simulators.backends.lava.stock import refuses

    with within(model):
        if mapping == "microcode":
            lowered = microcode(program, x, words[-1])
        else:
            lowered = loihi2(program, x, Words(*words), held)
            reason = refuses(lowered.program)
            if reason is not None:
                raise Refused(f"loihi2, {mapping}", reason)

    def show() -> None:
        if held is not None and mapping == "stock":
            console.print("scales are those that the checkpoint carries")
        console.print(_choices(lowered.choices))
        for remark in lowered.remarks:
            console.print(remark)

    return lowered.program, show, lowered.scales


def _speck(model: Path, program: Program, chip: str) -> tuple[Program, Callable[[], None]]:
    """The same for a Speck; what can't be on one is refused with fit's reasons."""
    from convert.lowering.speck import speck
    from deploy.fit import fit
    from deploy.fitting import chip as chips

    answer = fit(program, chips.read(chip))
    if not answer.fits:
        said = "; ".join(f"{reason.cause}: {', '.join(reason.layers)}: {reason.reason}" for reason in answer.reasons)
        raise Refused(model, f"does not fit on a {answer.chip.name}: {said}")
    lowered = speck(program)

    def show() -> None:
        console.print(_cores(lowered.cores))
        console.print(
            "one scale a core: the least at which weights fit 8 bits and thresholds 16, so that none is clipped"
        )
        console.print(answer.sentence)

    return lowered.program, show


def _choices(choices: list[Choice]) -> Table:
    from spikestrip.operations.fixed.rounding import HARDWARE_EXPONENTS

    table = Table("layer", "matrix", "exponents of its words", "largest error / largest value")
    for choice in choices:
        beyond = any(exponent not in HARDWARE_EXPONENTS for exponent in choice.exponents)
        exponents = ", ".join(map(str, choice.exponents)) + (" (a chip is said to take -8..7)" if beyond else "")
        table.add_row(choice.layer, choice.matrix, exponents, f"{choice.error:.1e}")
    return table


def _cores(cores: list[Core]) -> Table:
    table = Table("weights", "neurons", "scale", "threshold", "low threshold", "weights not 0", "become 0")
    for core in cores:
        table.add_row(
            core.weights_layer, core.neurons_layer, f"{core.scale:.6g}", str(core.threshold), str(core.floor),
            f"{core.weights:,}", f"{core.zeroed:,}",
        )  # fmt: skip
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
    for name, found in verdict.layers.items():
        one, two = ((trace.spikes | trace.numbers)[name] for trace in (reference, trace))
        agreement = 2 * int(np.minimum(one, two).sum()) / max(int(one.sum()) + int(two.sum()), 1)
        causes = ", ".join(f"{cause} {spikes:,}" for cause, spikes in found["causes"].items())
        table.add_row(
            name, f"{found['reference_spikes']:,}", f"{found['spikes']:,}", f"{found['differ']:,}", f"{agreement:.4f}",
            causes, f"{saturated[name]:,}" if name in trace.spikes else "not counted",
        )  # fmt: skip
    console.print(table)
    others = {name: n for name, n in saturated.items() if n and name not in verdict.layers}
    console.print(f"saturations in other layers: {others or 'none'}")
    answers = [np.asarray(each.output).argmax(axis=-1) for each in (reference, trace)]
    console.print(f"answers changed: {np.count_nonzero(answers[0] != answers[1])} of {answers[0].size}")
    for sentence in verdict.failures:
        console.print(f"verify: {sentence}")
    return verdict.passed


if __name__ == "__main__":
    main(command)
