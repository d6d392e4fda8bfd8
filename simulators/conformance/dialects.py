"""``python -m simulators.conformance.dialects [-o docs/nir-dialects.md]``: what each dialect of NIR holds, as a page.

The answers are the writer's own, on every program of the suite and on ``ordinary`` ones. No importer is run here: the
tests run the stock importers on every program that is called exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from convert.formats.nir.platforms import dialects
from convert.formats.nir.writing import CANONICAL, graph
from convert.formats.nir.writing.nodes import is_poisoned
from simulators.conformance import Case, cases
from simulators.conformance.table import _line, _note
from spikestrip.command import main
from spikestrip.errors import Refused
from spikestrip.files import write_text
from spikestrip.operations import LIF, Affine, Join, LeakyIntegrator, Operation
from spikestrip.program import INPUT, Layer, Program, chain

EXACT, POISONED = "exact", "poisoned"
COLUMNS = (CANONICAL, *dialects.DIALECTS)

_HEAD = """# What each dialect of NIR holds

**No stock importer holds an S4D**: a network of the three model families can only be canonical.

Written by `python -m simulators.conformance.dialects` from what the writer of `spikestrip to-nir --dialect` answers to
every program of the conformance suite, and to small networks with the layers that importers expect (`lif_hard_layer`,
`lif_soft_layer`, `li_layer`).

- **exact**: canonical: the standard nodes alone give every spike. A dialect: so does the stock importer that it is for,
  in its own float32, which the tests run; for sinabs while no input exceeds `max_input` in the file's metadata.
- **poisoned**: the metadata hold the operation exactly; whoever runs the standard nodes alone gets NaN.
- **refused**: no file is written, and the error names the layer and the reason (by number, below the table).

Where situations of one operation are answered differently, each answer names its own.
"""


def suite() -> list[Case]:
    """Every program, with an input in float32."""
    asked = [case for case in cases() if case.dtype == "float32" and not case.faulty]
    return asked + list(ordinary())


def ordinary() -> Iterator[Case]:
    """Small networks as importers expect them: dyadic weights, one threshold for a layer, neurons that leak."""
    rng = np.random.default_rng(34)

    def weights(outputs: int, inputs: int, bias: bool = True) -> Affine:
        matrix, offsets = rng.integers(0, 4, (outputs, inputs)) / 4, rng.integers(0, 3, outputs) / 8
        return Affine(matrix.astype(np.float32), offsets.astype(np.float32) if bias else None)

    def lif(reset: str, decay: float, threshold: float) -> LIF:
        return LIF(np.full(4, decay), np.full(4, threshold), reset_kind=reset)  # type: ignore[arg-type]

    def case(operation: str, situation: str, program: Program) -> Case:
        x = (rng.integers(0, 5, (3, 16, *program.input_shape)) * 2).astype(np.float32)
        return Case(operation, situation, "float32", program, x)

    def layers(*operations: Operation) -> Program:
        return chain((3,), [(f"n{index}_{each.kind}", each) for index, each in enumerate(operations)])

    for reset in ("hard", "soft"):
        name, neuron = f"lif_{reset}_layer", lif(reset, 0.5, 4)
        # sinabs sends two spikes where one step can lift a neuron to twice its threshold
        inner = lif(reset, 0.5, 1) if reset == "hard" else lif(reset, 0.875, 4)
        yield case(name, "one", layers(weights(4, 3), neuron))
        yield case(name, "two", layers(weights(4, 3), neuron, weights(4, 4), inner))
        yield case(name, "no_bias", layers(weights(4, 3, bias=False), neuron))
        enter, fire = Layer("n0_in", weights(4, 3), (INPUT,)), Layer("n1_spike", neuron, ("n0_in",))
        mix, other = (Layer(f"n{place}_mix", weights(4, 4), ("n1_spike",)) for place in (2, 3))
        join = Layer("n4_join", Join(), ("n1_spike", "n2_mix"))
        both = Layer("n4_join", Join(), ("n1_spike", "n2_mix", "n3_mix"))
        last = Layer("n5_spike", inner, ("n4_join",))
        loop = Layer("n1_spike", neuron, ("n0_in",), ("n2_mix",))
        yield case(name, "two_streams", Program((3,), (enter, fire, mix, join, last), "n5_spike"))
        yield case(name, "three_streams", Program((3,), (enter, fire, mix, other, both, last), "n5_spike"))
        yield case(name, "join_at_the_output", Program((3,), (enter, fire, mix, join), "n4_join"))
        yield case(name, "recurrent", Program((3,), (enter, loop, mix), "n1_spike"))
    yield case("li_layer", "one", layers(weights(4, 3), LeakyIntegrator(np.full(4, 0.5))))


def answer(program: Program, dialect: str) -> str:
    """EXACT, POISONED, or the reason why the writer refuses."""
    try:
        drawn = graph(program) if dialect == CANONICAL else dialects.graph(program, dialect)
    except Refused as error:
        return error.reason
    return POISONED if any(map(is_poisoned, drawn.nodes.values())) else EXACT


def page(asked: Sequence[Case]) -> str:
    """Markdown: a row for each operation, a column for each dialect."""
    rows: dict[str, list[Case]] = {}
    for case in asked:
        rows.setdefault(case.operation, []).append(case)
    notes: list[str] = []
    lines = [_line(["operation", *COLUMNS]), _line(["---"] * (1 + len(COLUMNS)))]
    for operation, programs in rows.items():
        lines.append(_line([f"`{operation}`", *(_cell(programs, dialect, notes) for dialect in COLUMNS)]))
    return "\n".join([_HEAD, *lines, "", *(f"{number}. {text}" for number, text in enumerate(notes, 1)), ""])


def _cell(programs: Sequence[Case], dialect: str, notes: list[str]) -> str:
    situations: dict[str, list[str]] = {}
    for case in programs:
        said = answer(case.program, dialect)
        cell = said if said in (EXACT, POISONED) else f"refused ({_note(said, notes)})"
        situations.setdefault(cell, []).append(case.situation)
    if len(situations) == 1:
        return next(iter(situations))
    return "; ".join(f"{cell}: {', '.join(names)}" for cell, names in situations.items())


@click.command("dialects")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page to write; default: the terminal.")
def command(output: Path | None) -> None:
    """Ask the NIR writer for every dialect of every program, and write its answers as a table."""
    text = page(suite())
    if output is None:
        click.echo(text)
    else:
        write_text(output, text)


if __name__ == "__main__":
    main(command)
