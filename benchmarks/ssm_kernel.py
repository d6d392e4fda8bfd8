"""What an S4D layer costs: its kernel made naively and factorised, and the whole layer by form and by length.

python benchmarks/ssm_kernel.py --json ssm_kernel.json
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from train.ssm import S4D

Methods = dict[str, Callable[[], Tensor]]
COLUMNS = ("what", "method", "B", "H", "N", "L", "pass", "ms", "median_ms", "speedup")


def naive_kernel(module: S4D, length: int, dtype: torch.dtype) -> Tensor:
    """The published form: exp(dt A l) for every mode and step, then a sum over modes; ZOH, B = 1."""
    real = dtype.to_real()
    dt = torch.exp(module.log_dt.to(real)).unsqueeze(-1)
    a = torch.complex(-torch.exp(module.log_A_real.to(real)), module.A_imag.to(real))
    w = torch.view_as_complex(module.C).to(dtype) * (torch.exp(dt * a) - 1) / a
    powers = torch.exp((dt * a).unsqueeze(-1) * torch.arange(length))
    return 2 * torch.einsum("hn,hnl->hl", w, powers).real


def zero_padded_layer(module: S4D, x: Tensor) -> Tensor:
    """The usual layer: naive kernel, FFT of twice the length, skip connection."""
    n = 2 * x.shape[-1]
    response = naive_kernel(module, x.shape[-1], torch.complex64)
    y = torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(response, n), n)[..., : x.shape[-1]]
    return y + x * module.D.unsqueeze(-1)


def milliseconds(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Best and median time of each call, taken in turns so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_number:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: (min(values), statistics.median(values)) for name, values in times.items()}


def both_passes(make: Callable[[], Tensor]) -> dict[str, Callable[[], Any]]:
    with torch.no_grad():
        grad = torch.randn_like(make())

    def forward() -> Tensor:
        with torch.no_grad():
            return make()

    return {"forward": forward, "forward+backward": lambda: make().backward(grad)}


def compare(what: str, methods: Methods, sizes: dict[str, int], repeats: int) -> list[dict[str, Any]]:
    """Rows of all methods, with the speedup over the first one."""
    rows = []
    for direction in ("forward", "forward+backward"):
        times = milliseconds({name: both_passes(make)[direction] for name, make in methods.items()}, repeats)
        base = next(iter(times.values()))[0]
        for name, (best, median) in times.items():
            row = {"what": what, "method": name, **sizes, "pass": direction}
            rows.append(row | {"ms": round(best, 3), "median_ms": round(median, 3), "speedup": round(base / best, 2)})
            print(
                "".join(str(rows[-1].get(column, "")).ljust(17 if column in COLUMNS[:2] else 9) for column in COLUMNS)
            )
    return rows


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--lengths", default="1024,4096,16384,65536", help="For the cost against L.")
@click.option("--repeats", default=7, show_default=True)
def main(path: Path, lengths: str, repeats: int) -> None:
    torch.manual_seed(0)
    print("".join(column.ljust(17 if column in COLUMNS[:2] else 9) for column in COLUMNS))

    wide = S4D(512, 64)
    kernels: Methods = {
        "naive complex64": partial(naive_kernel, wide, 4096, torch.complex64),
        "naive complex128": partial(naive_kernel, wide, 4096, torch.complex128),
        "factorised": partial(wide.kernel, 4096),
    }
    with torch.no_grad():
        reference = wide.kernel(4096)
        error = {name: float((make() - reference).abs().max()) for name, make in kernels.items()}
    rows = compare("kernel", kernels, {"H": 512, "N": 32, "L": 4096}, max(2, repeats // 3))
    print("largest difference from the factorised kernel:", {name: f"{value:.1e}" for name, value in error.items()})

    for d_state in (32, 64):
        module, x = S4D(64, d_state), torch.randn(50, 64, 784, requires_grad=True)
        layers: Methods = {"naive, padded": partial(zero_padded_layer, module, x)}
        layers |= {form: partial(module, x, form) for form in ("fft", "block")}
        rows += compare("layer", layers, {"B": 50, "H": 64, "N": d_state // 2, "L": 784}, repeats)

    for length in map(int, lengths.split(",")):
        module, x = S4D(64, 64), torch.randn(1, 64, length, requires_grad=True)
        sizes = {"H": 64, "N": 32, "L": length}
        rows += compare("kernel by L", {"factorised": partial(module.kernel, length)}, sizes, repeats)
        forms: Methods = {form: partial(module, x, form) for form in ("fft", "block")}
        rows += compare("layer by L", forms, {"B": 1, **sizes}, repeats)

    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    path.write_text(json.dumps({"machine": machine, "kernel_difference": error, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
