"""Run a NIR file on a simulator, step by step, and write the trace: ``python simulators/run.py model.nir ...``."""

from __future__ import annotations

import functools
import math
import platform
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import click
import numpy as np
from tqdm import tqdm

from convert.options import announced, rules_options, stated
from simulators import backends
from simulators.backends import Backend, Dtype, Progress, Recording
from simulators.shards import Over, shards_options, spread
from spikestrip import __version__, inputs, ledger, trace
from spikestrip.command import event_step_option, main
from spikestrip.errors import BadInput, SimulatorFault
from spikestrip.execution import parts
from spikestrip.files import writable
from spikestrip.program import Program, at_sample
from spikestrip.trace import Trace

_PART_BYTES = 8 << 20  # larger ones leave the cache (docs/scale.md), and are few to share among processes
_ENGINES = ("numpy", "torch", "onnxruntime", "lava-nc", "sinabs")


def simulate(
    program: Program,
    x: np.ndarray,
    backend: Backend | str = "numpy",
    dtype: Dtype = "float64",
    device: str = "cpu",
    progress: Progress = lambda steps: None,
    attrs: Mapping[str, trace.Attribute] | None = None,
    over: Over | None = None,
) -> Trace:
    """Run ``program`` on ``x`` and count its events.

    x: values (B, T, *input_shape) or token ids (B, T, 1), see spikestrip.inputs.check. ``backend``: one, or its name.
    ``progress(n)`` is called after every n sample-steps, B*T in all. ``attrs`` are added to the trace's.

    Raises Refused when the backend can't hold a layer exactly, BadInput for a bad input or a run that overflows, and
    SimulatorFault when the backend dies or counted other events than the ledger.
    """
    x = inputs.check(x, program.input_shape, "input")
    return trace.join(list(simulate_parts(program, x, backend, dtype, device, progress, attrs, over)))


def simulate_parts(
    program: Program,
    x: np.ndarray,
    backend: Backend | str = "numpy",
    dtype: Dtype = "float64",
    device: str = "cpu",
    progress: Progress = lambda steps: None,
    attrs: Mapping[str, trace.Attribute] | None = None,
    over: Over | None = None,
) -> Iterator[Trace]:
    """The same, part by part of the samples, for a trace that doesn't fit in memory (``trace.write_parts``).

    Samples run together as far as 8 MiB of input and record allow. ``seconds`` of a part are those up to its end.
    ``over`` runs the parts on other processes (``simulators.shards``); progress is then made part by part.
    """
    if isinstance(backend, str):
        backend = backends.load(backend)
    backends.check(backend, program, dtype, device)
    work = functools.partial(_simulate_part, program, backend, dtype, device, attrs or {})
    pieces = (
        (samples.start, np.array(x[samples]))  # a mapped file is read once
        for samples in parts(len(x), _sample_bytes(program, x.shape[1]), _PART_BYTES)
    )
    if over is None:
        traces: Iterator[Trace] = (work(piece, progress) for piece in pieces)
    else:
        traces = _counted(over(work, pieces), progress)
    seconds = 0.0
    for part in traces:
        seconds += float(part.attrs["seconds"])
        part.attrs["seconds"] = round(seconds, 6)
        yield part


def _counted(traces: Iterator[Trace], progress: Progress) -> Iterator[Trace]:
    for part in traces:
        progress(math.prod(part.input.shape[:2]))
        yield part


def _simulate_part(
    program: Program,
    backend: Backend,
    dtype: Dtype,
    device: str,
    attrs: Mapping[str, trace.Attribute],
    piece: tuple[int, np.ndarray],
    progress: Progress = lambda steps: None,
) -> Trace:
    """The trace of samples that run together. piece: the number of the first, and the input of them all."""
    first, x = piece
    given = inputs.check(x, program.input_shape, "input")
    part = inputs.expand(given, program.input_shape)
    started = time.perf_counter()
    with np.errstate(all="ignore"):  # an overflow ends in an error that names the layer
        recording = backend.run(at_sample(program, first), part, dtype, device, _per_sample(progress, len(part)))
        seconds = time.perf_counter() - started
        _check_recording(program, part, recording, backend.name)
        events = recording.events or ledger.count(program, part, recording.spikes | recording.numbers)
    _compare(events, recording.observed, backend.name)
    output = program.finish(recording.output)
    if not np.isfinite(output).all():
        raise BadInput(f"backend {backend.name}", "the output is not finite: the run overflowed")
    return Trace(
        attrs={
            "backend": backend.name,
            "dtype": dtype,
            "device": device,
            "program_sha256": program.sha256,
            "seed": program.seed,
            "form": "iterative",
            "seconds": seconds,
            "versions": _versions(),
            **recording.attrs,
            **attrs,
        },
        input=given,
        output=output,
        spikes={layer.name: recording.spikes[layer.name] for layer in program.spiking},
        events=events,
        observed=recording.observed,
        numbers=recording.numbers,
    )


def _per_sample(progress: Progress, samples: int) -> Progress:
    return lambda steps: progress(steps * samples)


def _sample_bytes(program: Program, steps: int) -> int:
    """Of the expanded input, of the record and of the output of one sample."""
    wide = math.prod(program.input_shape) + math.prod(program.shapes[program.output])
    sent = sum(math.prod(program.shapes[layer.name]) for layer in program.spiking)
    return steps * (8 * wide + sent + 4 * sum(math.prod(program.shapes[layer.name]) for layer in program.counting))


def _check_recording(program: Program, x: np.ndarray, recording: Recording, name: str) -> None:
    """A backend is someone else's code: what it recorded must have the form that a trace has."""
    for layer in program.spiking:
        expected = (*x.shape[:2], math.prod(program.shapes[layer.name]))
        train = recording.spikes.get(layer.name)
        if train is None or train.shape != expected or train.dtype != np.uint8 or (train > 1).any():
            raise SimulatorFault(f"backend {name}: spikes of {layer.name} are not {expected} of 0 and 1 in uint8")
    for sender, sent in recording.numbers.items():
        expected = (*x.shape[:2], math.prod(program.shapes[sender]))
        if sent.shape != expected or sent.dtype != np.int32 or (sent < 0).any():
            raise SimulatorFault(f"backend {name}: {sender} doesn't send {expected} numbers of spikes in int32")
    expected = (*x.shape[:2], *program.shapes[program.output])
    if recording.output.shape != expected:
        raise SimulatorFault(f"backend {name}: the output has shape {recording.output.shape}, not {expected}")


def _compare(events: ledger.Events, observed: ledger.Events, name: str) -> None:
    for layer, counters in observed.items():
        for counter, seen in counters.items():
            counted = events[layer][counter]
            if not np.array_equal(seen, counted):
                sample, step = np.argwhere(seen != counted)[0] if seen.shape == counted.shape else (0, 0)
                raise SimulatorFault(
                    f"backend {name}, layer {layer}: {counter} observed by the simulator and counted by the ledger "
                    f"differ, first at sample {sample}, step {step}"
                )


@cache
def _versions() -> str:
    found = [f"spikestrip {__version__}", f"python {platform.python_version()}"]
    for engine in _ENGINES:
        try:
            found.append(f"{engine} {version(engine)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@click.command("simulate", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    "name",
    required=True,
    help="numpy, raster (its fast twin), torch, onnxruntime, lava, sinabs, or one you installed.",
)
@click.option(
    "--input", "source", required=True, type=click.Path(path_type=Path), help="x.npy: (B, T, C), ids, or events."
)
@click.option("--dtype", type=click.Choice(get_args(Dtype)), default="float64", help="Arithmetic.")
@click.option("--device", default="cpu", help="cpu, or cuda where the backend has it.")
@click.option("--processes", type=click.Choice(["stock"]), help="lava: processes that lava-nc ships, or a refusal.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The trace to write (HDF5).")
@event_step_option
@shards_options
@rules_options
def command(
    model: Path,
    name: str,
    source: Path,
    dtype: Dtype,
    device: str,
    processes: str | None,
    output: Path,
    event_step: int | None,
    shards: int | None,
    scheduler: str | None,
    **rules: str | float | None,
) -> None:
    """Run MODEL step by step on a simulator, and write its spikes, events and output as a trace.

    MODEL is a NIR file, an ONNX file of ours, or a checkpoint.
    """
    writable(output, (model, source))
    read = announced(model, stated(rules))
    x = inputs.read(source, read.program.input_shape, event_step)
    backend = backends.load(name, **({} if processes is None else {"processes": processes}))
    remarks = {"remarks": "; ".join(read.remarks)} if read.remarks else {}
    with (
        spread(shards, scheduler) as over,
        tqdm(total=x.shape[0] * x.shape[1], desc=f"simulate on {name}", unit="step", unit_scale=True) as bar,
        trace.writing(output, len(x)) as writer,
    ):
        for part in simulate_parts(read.program, x, backend, dtype, device, bar.update, remarks, over):
            writer.append(part)
    click.echo(f"{output}: {len(x)} sequences on {name} in {dtype}, {part.attrs['seconds']:.2f} s")


if __name__ == "__main__":
    main(command)
