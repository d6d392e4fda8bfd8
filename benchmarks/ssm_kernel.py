"""What an S4D layer costs: its kernel made naively and factorised, and the whole layer by form.

python benchmarks/ssm_kernel.py --json ssm_kernel.json
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import measuring
import torch
from measuring import Row, Tables
from torch import Tensor

from train.ssm import S4D

Methods = dict[str, Callable[[], Tensor]]


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


def both_passes(make: Callable[[], Tensor]) -> dict[str, Callable[[], object]]:
    with torch.no_grad():
        grad = torch.randn_like(make())

    def forward() -> Tensor:
        with torch.no_grad():
            return make()

    return {"forward": forward, "forward and backward": lambda: make().backward(grad)}


def compare(methods: Methods, turns: int, **sizes: int) -> list[Row]:
    """Rows of all methods, against the first one."""
    rows = []
    passes = {name: both_passes(make) for name, make in methods.items()}
    for direction in ("forward", "forward and backward"):
        times = measuring.take_turns({name: measuring.timer(each[direction]) for name, each in passes.items()}, turns)
        rows += measuring.compared(times, next(iter(methods)), "method", **sizes, **{"pass": direction})
    return rows


def measure(smoke: bool) -> Tables:
    torch.manual_seed(0)
    width, state, length = (4, 4, 16) if smoke else (512, 64, 4096)
    wide = S4D(width, state)
    kernels: Methods = {
        "naive, complex128": partial(naive_kernel, wide, length, torch.complex128),
        "naive, complex64": partial(naive_kernel, wide, length, torch.complex64),
        "factorised": partial(wide.kernel, length),
    }
    with torch.no_grad():
        reference = kernels["naive, complex128"]()
        error = [{"method": name, "largest_difference": float((make() - reference).abs().max())}
                 for name, make in kernels.items()]  # fmt: skip
    kernel_rows = compare(kernels, 1 if smoke else 2, H=width, N=state // 2, L=length)

    batch, width, state, length = (2, 4, 4, 16) if smoke else (50, 64, 64, 784)
    module, x = S4D(width, state), torch.randn(batch, width, length, requires_grad=True)
    layers: Methods = {"naive kernel, padded FFT": partial(zero_padded_layer, module, x)}
    layers |= {form: partial(module, x, form) for form in ("fft", "block")}
    layer_rows = compare(layers, 1 if smoke else 5, B=batch, H=width, N=state // 2, L=length)
    return {"kernel": kernel_rows, "kernel_error": error, "layer": layer_rows}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
