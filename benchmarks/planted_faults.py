"""Does verify let a fault through, and does it name it? Faults planted in random networks, and healthy pairs.

    python benchmarks/planted_faults.py --networks 20 --json runs/planted_faults.json

For each random network, dtype and fault the reference is the healthy program on numpy in float64; the other side runs
the faulty one and says that it ran the healthy one. A *false pass* is a pair that passes although the fault changed
spikes. Healthy pairs run the program on every backend.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from deploy.verify import verify
from simulators.conformance import networks
from simulators.run import simulate
from spikestrip.errors import Refused
from spikestrip.operations import LIF, S4D, Affine, Operation
from spikestrip.program import Program
from spikestrip.trace import Trace

BACKENDS = ("numpy", "torch", "onnxruntime", "sinabs")
DTYPES = ("float64", "float32")


def changed(program: Program, name: str, change: Callable[[Operation], Operation]) -> Program:
    """``program`` with the operation of one layer changed."""
    layers = (
        dataclasses.replace(layer, operation=change(layer.operation)) if layer.name == name else layer
        for layer in program.layers
    )
    return dataclasses.replace(program, layers=tuple(layers))


def scaled(fields: str, factor: float) -> Callable[[Operation], Operation]:
    """One parameter of an operation, or the two parts of a complex one, times ``factor``."""

    def change(operation: Operation) -> Operation:
        arrays = {field: getattr(operation, field) for field in fields.split()}
        changed = {field: (array * factor).astype(array.dtype) for field, array in arrays.items()}
        return dataclasses.replace(operation, **changed)  # type: ignore[type-var]

    return change


def one(field: str, factor: float) -> Callable[[Operation], Operation]:
    """The largest element of one parameter times ``factor``."""

    def change(operation: Operation) -> Operation:
        array = getattr(operation, field).copy()
        array.flat[np.abs(array).argmax()] *= factor
        return dataclasses.replace(operation, **{field: array})  # type: ignore[type-var]

    return change


def first(program: Program, kind: type[Operation], last: bool = False) -> str:
    """The name of the first (or last) layer of a kind."""
    found = [layer.name for layer in program.layers if isinstance(layer.operation, kind)]
    return found[-1 if last else 0]


def faulty_programs(program: Program) -> dict[str, tuple[Program, set[str]]]:
    """Fault -> (the program that has it, names that are right for it)."""
    neuron = first(program, LIF, last=True)
    mix, ssm = first(program, Affine, last=False), first(program, S4D)
    lif = program[neuron].operation
    other = "soft" if getattr(lif, "reset_kind", "hard") == "hard" else "hard"
    made: dict[str, tuple[Program, set[str]]] = {}
    for size in (1e-1, 1e-2, 1e-3, 1e-4, 5e-5):
        made[f"vth {size:g}"] = (changed(program, neuron, scaled("threshold", 1 + size)), {"parameter", "systematic"})
        made[f"decay {size:g}"] = (changed(program, neuron, scaled("decay", 1 - size)), {"parameter", "systematic"})
        made[f"C {size:g}"] = (changed(program, ssm, scaled("c_re c_im", 1 + size)), {"parameter", "systematic"})
        made[f"one weight {size:g}"] = (changed(program, mix, one("weight", 1 + size)), {"parameter", "systematic"})
    made["D dropped"] = (changed(program, ssm, scaled("d", 0.0)), {"parameter", "unexplained"})
    made["one neuron"] = (changed(program, neuron, one("threshold", 0.7)), {"parameter"})
    made["sign"] = (changed(program, mix, scaled("weight", -1.0)), {"parameter", "input", "unexplained"})
    made["bias dropped"] = (changed(program, mix, scaled("bias", 0.0)), {"bias"})
    made["input scaled"] = (changed(program, mix, scaled("weight", 1.25)), {"input", "parameter"})
    made["reset"] = (changed(program, neuron, lambda o: dataclasses.replace(o, reset_kind=other)), {"reset"})  # type: ignore[type-var]
    made["comparison"] = (
        changed(program, neuron, lambda o: dataclasses.replace(o, comparison="gt")),  # type: ignore[type-var]
        {"comparison"},
    )
    return made


def faulty_spikes(trace: Trace, rng: np.random.Generator) -> dict[str, tuple[dict[str, np.ndarray], set[str]]]:
    """Fault -> (spikes that have it, names that are right for it)."""
    name = list(trace.spikes)[-1]
    train = trace.spikes[name]
    flipped = train.copy()
    flipped.flat[rng.integers(train.size)] ^= 1
    late = np.concatenate([np.zeros_like(train[:, :1]), train[:, :-1]], axis=1)
    return {
        "one spike flipped": (trace.spikes | {name: flipped}, {"unexplained"}),
        "neurons swapped": (trace.spikes | {name: train[..., [1, 0, *range(2, train.shape[-1])]]}, {"wiring"}),
        "samples reversed": ({n: t[::-1].copy() for n, t in trace.spikes.items()}, {"samples", "wiring"}),
        "recorded late": (trace.spikes | {name: late}, {"delay"}),
        "random": ({n: (rng.random(t.shape) < 0.2).astype(np.uint8) for n, t in trace.spikes.items()}, {"unexplained"}),
        "one sample late": (
            trace.spikes | {name: np.concatenate([late[:1], train[1:]])},
            {"delay", "wiring", "unexplained"},
        ),
        "silent": ({n: np.zeros_like(t) for n, t in trace.spikes.items()}, {"unexplained"}),
    }


DECLARATIONS: dict[str, Callable[[Program], dict[str, object]]] = {
    "": lambda program: {},
    "quantised": lambda program: {"quantised_from": program.sha256},
    "sdn": lambda program: {"form": "parallel", "parallel": "sdn"},
    "pmbc": lambda program: {"form": "parallel", "parallel": "pmbc", "iterations": 3},
}


def differs(a: Trace, b: Trace) -> int:
    return sum(int(np.count_nonzero(train != b.spikes[name])) for name, train in a.spikes.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=784)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    healthy: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number in tqdm(range(options.networks)):
        rng = np.random.default_rng([options.seed, number])
        neuron = ("hard", "soft")[number % 2]
        program = networks.network(rng, hidden=options.hidden, modes=8, neuron=neuron)  # type: ignore[arg-type]
        x = rng.normal(0, 1, (options.samples, options.steps, *program.input_shape)).astype(np.float32)
        reference = simulate(program, x)
        for dtype in DTYPES:
            for backend in BACKENDS:
                try:
                    trace = simulate(program, x, backend, dtype)  # type: ignore[arg-type]
                except Refused:
                    continue
                row = healthy[backend, dtype]
                row["pairs"] += 1
                verdict = verify(reference, trace, program)
                row["false alarms"] += not verdict.passed
                if backend == "numpy":
                    sound = trace
            for fault, (wrong, names) in faulty_programs(program).items():
                trace = simulate(wrong, x, "numpy", dtype)  # type: ignore[arg-type]
                trace.attrs["program_sha256"] = program.sha256
                _count(rows[fault, dtype], reference, sound, trace, program, names)
            for fault, (spikes, names) in faulty_spikes(sound, rng).items():
                for declared, attrs in DECLARATIONS.items():
                    trace = dataclasses.replace(sound, spikes=spikes, attrs=sound.attrs | attrs(program), events={})  # type: ignore[arg-type]
                    right = names if not declared else names | {"undeclared"}
                    _count(rows[f"{fault} {declared}".strip(), dtype], reference, sound, trace, program, right)
    console = Console()
    table = Table("fault", "dtype", "changed spikes", "false passes", "named rightly")
    for (fault, dtype), row in rows.items():
        table.add_row(fault, dtype, str(row["changed"]), str(row["false passes"]), str(row["named"]))
    console.print(table)
    table = Table("healthy on", "dtype", "pairs", "false alarms")
    for (backend, dtype), row in healthy.items():
        table.add_row(backend, dtype, str(row["pairs"]), str(row["false alarms"]))
    console.print(table)
    if options.json:
        flat = [{"fault": fault, "dtype": dtype, **row} for (fault, dtype), row in rows.items()]
        flat += [{"healthy": backend, "dtype": dtype, **row} for (backend, dtype), row in healthy.items()]
        options.json.write_text(json.dumps(flat, indent=1))


def _count(
    row: dict[str, int], reference: Trace, sound: Trace, trace: Trace, program: Program, names: set[str]
) -> None:
    """Judge a faulty side that the fault changed, and keep the score."""
    if not differs(sound, trace):
        return
    row["changed"] += 1
    verdict = verify(reference, trace, program)
    row["false passes"] += verdict.passed
    found = {cause for counts in verdict.contradictions.values() for cause in counts} | set(verdict.causes)
    row["named"] += not verdict.passed and bool(found & names)


if __name__ == "__main__":
    main()
