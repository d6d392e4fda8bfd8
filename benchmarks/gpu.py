"""Speed on a CUDA device: one spiking layer in every form, and a whole training step.

python benchmarks/gpu.py --json gpu.json     (make bench-gpu; about two minutes)

Times are medians of CUDA events around one forward and backward pass, in milliseconds, after warm-up. The neuron is
the hard-reset LIF of SpikingSSM (tau = 0.125, threshold 1, triangle surrogate) on N(0,1) input in float32. SDN is the
published network with its BatchNorm, with random weights: they don't change the time.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import published
import steps
import torch
from torch import Tensor

from train.neurons import methods
from train.neurons.checks import later
from train.neurons.neuron import Neuron
from train.neurons.sdn_network import SDN

SHAPES = [(1, 2048, 1024), (64, 512, 1024), (1, 2048, 8192), (64, 512, 8192)]
LOOP_LIMIT = 1 << 26  # elements: the loop's backward writes the whole input for every step


def milliseconds(action: Callable[[], object], most: int = 20, seconds: float = 1.5) -> float:
    """The median time of ``action`` on the device, repeated up to ``most`` times within about ``seconds``."""
    action()
    torch.cuda.synchronize()
    began = time.perf_counter()
    action()
    torch.cuda.synchronize()
    once = time.perf_counter() - began
    events = []
    for _ in range(max(1, min(most, int(seconds / max(once, 1e-6))))):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        action()
        end.record()
        events.append((start, end))
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events)


def layers() -> list[dict[str, Any]]:
    tau, one = torch.tensor(published.TAU, device="cuda"), torch.tensor(1.0, device="cuda")
    hard = Neuron("hard", tau, one)
    refractory = Neuron("refractory", tau, one, torch.tensor(0.9, device="cuda"), one)
    network = SDN().eval().cuda()
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "scan": lambda x: methods.spikes(x, hard, "scan"),
        "scan, refractory": lambda x: methods.spikes(x, refractory, "scan"),
        "block": lambda x: methods.spikes(x, hard, "block"),
        "sdn, official": published.sdn(torch.jit.trace(network, torch.zeros(2, 64, device="cuda"))),
        "sdn, torch.compile": published.sdn(torch.compile(network)),
        "bptt loop, official": published.loop,
    }
    return [timed(name, form, shape) for shape in SHAPES for name, form in forms.items()]


def timed(name: str, form: Callable[[Tensor], Tensor], shape: tuple[int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"form": name, "shape": shape}
    if name.startswith("bptt") and math.prod(shape) > LOOP_LIMIT:
        row["left_out"] = "its backward writes the whole input for every step"
    else:
        x, grad = torch.randn(shape, device="cuda", requires_grad=True), torch.randn(shape, device="cuda")
        row |= attempt(lambda: torch.autograd.grad(form(x), x, grad))
    print(row, flush=True)
    return row


def attempt(action: Callable[[], object]) -> dict[str, Any]:
    """Its time, or what went wrong: one form that fails leaves the others' figures."""
    try:
        return {"ms": milliseconds(action), "peak_mib": torch.cuda.max_memory_allocated() >> 20}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
    finally:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def training_steps() -> list[dict[str, Any]]:
    rows = []
    for width, modes, depth, batch in [(64, 16, 2, 50), (128, 32, 4, 50), (128, 32, 4, 100)]:
        size = {"d_model": width, "d_state": modes, "layers": depth}
        x, labels = steps.images(batch, steps.LENGTH, "cuda")
        for mix in ("linear", "glu"):
            network = steps.network(**size, mix=mix, dropout=0.1, tie_dropout=True).cuda()
            step = steps.training_step(network, x, labels)
            for method in ("scan", "block", "sdn"):
                network.set_parallel(method)
                with later():
                    row = {"H": width, "N": modes, "K": depth, "B": batch, "mix": mix, "method": method} | attempt(step)
                print(row, flush=True)
                rows.append(row)
    return rows


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(path: Path) -> None:
    """Measure on the first CUDA device and write JSON."""
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    began = time.perf_counter()
    about = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
    content = {"about": about, "steps": training_steps(), "layers": layers()}
    content["about"]["seconds"] = time.perf_counter() - began  # type: ignore[index]
    path.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
