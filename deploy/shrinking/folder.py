"""The folder that is left: minimal model and input, both traces, a short script, a README with the right value."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from convert.load import load, save
from deploy.shrinking.case import Case
from spikestrip import __version__
from spikestrip.files import save_array, write_text
from spikestrip.trace import Trace

LIBRARIES = ("numpy", "nir", "onnx", "onnxruntime", "torch", "sinabs", "lava-nc", "nirtorch", "snntorch")
MANY = 64  # numbers of output that the README writes out
SHOWN = 8  # neurons and samples whose spikes the README writes out
SCRIPT = '''"""Run this in its folder: prints what is right and what {who} gives, and ends in 1 while they differ."""

{imports}import sys

import numpy as np

import spikestrip as ss

program, x = ss.load("model.nir"), np.load("x.npy")
right = ss.simulate(program, x)
{other}
'''
SIMULATED = """seen = ss.simulate(ss.load("{ran}"), x, "{backend}", dtype="{dtype}")
seen.attrs["program_sha256"] = program.sha256
print(right.output, seen.output, ss.verify(right, seen, program), sep="\\n")
sys.exit(not ss.verify(right, seen, program).passed)"""
RECORDED = """verdict = ss.verify(ss.read("reference.h5"), ss.read("trace.h5"), program)
print(right.output, verdict, sep="\\n")
sys.exit(not verdict.passed)"""
COMMANDED = """print(right.output, flush=True)
command = {command}
sys.exit(subprocess.run(shlex.split(command), check=False).returncode)"""


def right_values(program_trace: Trace) -> str:
    """The output and the spikes that the oracle gives, as the README has them."""
    output = json.dumps(program_trace.output.tolist()) if program_trace.output.size <= MANY else "in reference.h5"
    lines = ["output", "", "```", output, "```"]
    for name, train in program_trace.spikes.items():
        lines += ["", f"spikes of `{name}`, a line for each neuron, a character for each step", "", "```"]
        for sample in train[:SHOWN]:
            lines += ["".join(map(str, neuron)) for neuron in sample.T[:SHOWN]]
        lines.append("```")
    return "\n".join(lines)


def write(
    out: Path, case: Case, reference: Trace, trace: Trace | None, said: str, script: dict[str, str], again: str
) -> None:
    """Write the folder ``out``. said: what fails; script: fields of SCRIPT; again: the command."""
    save(case.program, out / "model.nir")
    if load(out / "model.nir").sha256 != case.program.sha256:
        said += "\n\nThe file holds the program in another form: its hash is another, its spikes are the same."
    if len(case.programs) > 1:
        save(case.programs[-1], out / "faulty.nir")
    save_array(out / "x.npy", case.x)
    reference.save(out / "reference.h5")
    if trace is not None:
        trace.save(out / "trace.h5")
    write_text(out / "reproduce.py", SCRIPT.format(**{"imports": ""} | script))
    write_text(out / "README.md", _readme(case, reference, said, again))


def _readme(case: Case, reference: Trace, said: str, again: str) -> str:
    layers = "\n".join(
        f"| `{layer.name}` | {layer.operation.kind} | "
        f"{', '.join([*layer.inputs, *(f'{source} (delayed)' for source in layer.delayed)])} "
        f"| {case.program.shapes[layer.name]} |"
        for layer in case.program.layers
    )
    found = [f"spikestrip {__version__}", f"python {platform.python_version()}", platform.machine()]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"""# Reproducer

{said}

Shrunk to {case.size}. Layers have the names that they had.

| layer | what | reads | shape |
|---|---|---|---|
{layers}

## The right value

Computed by the numpy oracle of Spikestrip, step by step in float64.

{right_values(reference)}

## To see it

`python reproduce.py`. It was made by `{again}`.

Versions: {", ".join(found)}.
"""
