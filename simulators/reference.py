"""The reference trace of a checkpoint: ``python simulators/reference.py ckpt.pt --input x.npy -o reference.h5``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from spikestrip.command import main
from spikestrip.files import writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from spikestrip.program import Program
    from spikestrip.trace import Attribute, Trace
    from train.building import AnyNetwork

Form = Literal["parallel", "iterative"]
BATCH = 64  # samples that run together at most, as far as the widest stream of all of them keeps below
PART_BYTES = 1 << 30


@click.command(context_settings={"show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--input", "input_path", type=click.Path(path_type=Path), required=True, help="x.npy, (B, T, C).")
@click.option("--form", type=click.Choice(["parallel", "iterative"]), default="parallel",
              help="As the network was trained, or the stripped program step by step.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", help="Arithmetic.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("reference.h5"), help="Trace to write.")
def command(
    checkpoint: Path, input_path: Path, form: Form, dtype: Literal["float32", "float64"], device: str, output: Path
) -> None:
    """Record what a checkpoint's network does, as trained or iterative, on this machine (CUDA where there is one)."""
    from convert.strip import strip
    from spikestrip import inputs, trace
    from train.checkpoint import files, load

    writable(output, (*files(checkpoint), input_path))
    network = load(checkpoint).network
    x = inputs.read(input_path, strip(network).input_shape)
    trace.write_parts(output, reference_parts(network, x, form, dtype, device), len(x))
    click.echo(f"{output}: {form} reference of {len(x)} sequences in {dtype} on {device}")


def reference(network: AnyNetwork, x: np.ndarray, form: Form, dtype: str, device: str) -> Trace:
    """Run ``network`` on x (B, T, C) or token ids (B, T, 1) and record its spikes, output and events.

    parallel: the network as it was trained, its spikes computed by config.parallel (block, which is as exact, in the
    place of scan where there is no CPU); iterative: its stripped program.
    """
    from spikestrip import trace

    return trace.join(list(reference_parts(network, x, form, dtype, device)))


def reference_parts(network: AnyNetwork, x: np.ndarray, form: Form, dtype: str, device: str) -> Iterator[Trace]:
    """The same, part by part of the samples. ``seconds`` of a part are those up to its end."""
    import copy
    import time

    import array_api_compat.torch as xp
    import numpy as np
    import torch
    from tqdm import tqdm

    from convert.strip import strip
    from spikestrip import execution, ledger
    from spikestrip.inputs import expand
    from spikestrip.program import at_sample
    from spikestrip.trace import Trace
    from train.devices import check_device
    from train.neurons.methods import default_method

    check_device(device)
    program = strip(network)
    kind = getattr(torch, dtype)
    network = copy.deepcopy(network).to(device=device, dtype=kind)
    if network.config.parallel in ("scan", "fused"):  # the same neuron, and the SSM at its most accurate
        network.set_parallel(default_method(device))
    attrs = _attrs(network, program, form, dtype, device)
    sample_bytes = 8 * x.shape[1] * max(map(math.prod, program.shapes.values()))
    seconds = 0.0
    with tqdm(total=len(x), desc=f"{form} reference", unit="seq", disable=None) as bar:
        for samples in execution.parts(len(x), sample_bytes, PART_BYTES, BATCH):
            chunk = np.array(x[samples])  # a mapped file is read once
            expanded = expand(chunk, program.input_shape)
            began = time.perf_counter()
            with torch.inference_mode():
                if form == "parallel":
                    given = torch.from_numpy(chunk).to(device, torch.long if network.config.tokens else kind)
                    logits, fired = network(given, first_sample=samples.start)
                    output = logits.cpu().numpy()
                    recorded = [train.transpose(1, 2).to(torch.uint8).cpu().numpy() for train in fired]
                    spikes = dict(zip((layer.name for layer in program.spiking), recorded, strict=True))
                else:
                    stream, spikes, _ = execution.run(
                        at_sample(program, samples.start),
                        expanded,
                        xp,
                        lambda array: torch.as_tensor(array).to(device=device, dtype=kind),
                        lambda tensor: tensor.cpu().numpy(),
                        lambda _: None,
                    )
                    output = program.finish(stream)
            seconds += time.perf_counter() - began
            yield Trace(attrs | {"seconds": seconds}, chunk, output, spikes, ledger.count(program, expanded, spikes))
            bar.update(len(chunk))


def _attrs(network: AnyNetwork, program: Program, form: Form, dtype: str, device: str) -> dict[str, Attribute]:
    import torch

    from train.neurons.sdn import stands_in

    attrs: dict[str, Attribute] = {
        "backend": "reference", "form": form, "dtype": dtype, "device": _device_name(device), "seed": program.seed,
        "program_sha256": program.sha256, "torch": str(torch.__version__),
    }  # fmt: skip
    if form == "parallel":
        attrs["parallel"] = network.config.parallel
        if network.config.parallel == "sdn":
            attrs["computed_sha256"] = stands_in(network.config.reset, network.config.tau, network.sdn).sha256
        if network.config.parallel == "pmbc" and network.config.pmbc_iterations:
            attrs["iterations"] = network.config.pmbc_iterations
    return attrs


def _device_name(device: str) -> str:
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


if __name__ == "__main__":
    main(command)
