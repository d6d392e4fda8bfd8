"""What a neuron costs in training, forward and backward: every parallel form and the usual loops, in one process.

python benchmarks/train_speed.py --json train_speed.json [--rows 64,8192] [--cost]

All compute the hard-reset LIF of SpikingSSM (tau = 0.125, threshold 1, triangle surrogate) on N(0,1) input. Methods
take turns, so that a busy moment hits all of them; ``ms`` is the median. The floor is the memory traffic of a fused
kernel that keeps nothing: 20 B an element in float32 (read x, write s; read x and the gradient, write the gradient
of x) at the copy bandwidth measured in the same run. Inputs that fit in cache can beat it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from train.neurons import _buffers, methods
from train.neurons.bptt import Spike
from train.neurons.neuron import Neuron
from train.neurons.sdn import shipped
from train.neurons.sdn_network import SDN

TAU = 0.125
FLOOR = 20  # bytes an element
TURNS = 5
SPELL = 0.05  # seconds that a fast method is repeated for in its turn
LIMIT = 120  # seconds for the traffic of one run, above which a method is skipped
Method = Callable[[Tensor], Tensor]


def neuron(**fields: Any) -> Neuron:
    return Neuron("hard", torch.tensor(TAU), torch.tensor(1.0), **fields)


def official_loop() -> Method:
    """BPTT as published: ``x[..., t]``, whose backward writes a tensor of the size of x for every step."""

    def run(x: Tensor) -> Tensor:
        u, one, out = torch.zeros_like(x[..., 0]), torch.ones(()), []
        for t in range(x.shape[-1]):
            v = TAU * u + x[..., t]
            s = Spike.apply(v, one, "triangle")
            u = v * (1 - s)
            out.append(s)
        return torch.stack(out, dim=-1)

    return run


def published_sdn() -> Method:
    """SDN with its BatchNorm, in TorchScript. Random weights: they don't change the time."""
    network = torch.jit.trace(SDN().eval(), torch.zeros(2, 64))

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            q = network(x.reshape(-1, x.shape[-1])).view_as(x)
        return Spike.apply(q + x, torch.ones(()), "triangle")

    return run


def folded_sdn() -> Method:
    """BatchNorm folded, convolutions as published."""
    network = shipped("hard", TAU).network

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            q = network(x.reshape(-1, x.shape[-1])).view_as(x)
        return Spike.apply(q + x, torch.ones(()), "triangle")

    return run


def refractory(method: str) -> Method:
    """A refractory neuron, Uth = 1: PMBC has no hard reset."""
    tau, vth, tau_r, uth = torch.tensor([0.1, 1.0, 0.9, 1.0])
    cell = Neuron("refractory", tau, vth, tau_r, uth)
    return lambda x: methods.spikes(x, cell, method)


def named(method: str, **fields: Any) -> Method:
    return lambda x: methods.spikes(x, neuron(**fields), method)


def triangle(v: Tensor) -> Tensor:
    """The surrogate spike for libraries that subtract the threshold themselves."""
    return Spike.apply(v + 1, torch.ones(()), "triangle")


def snntorch_loop() -> Method:
    import snntorch

    cell = snntorch.Leaky(TAU, threshold=1.0, reset_mechanism="zero", reset_delay=False, spike_grad=triangle)

    def run(x: Tensor) -> Tensor:
        u, out = torch.zeros_like(x[..., 0]), []
        for x_t in x.unbind(-1):
            s, u = cell(x_t, u)
            out.append(s)
        return torch.stack(out, dim=-1)

    return run


def spikingjelly_multi_step() -> Method:
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based import neuron as neurons

    cell = neurons.LIFNode(1 / (1 - TAU), decay_input=False, v_threshold=1.0, v_reset=0.0, step_mode="m")

    def run(x: Tensor) -> Tensor:
        functional.reset_net(cell)
        return cell(x.permute(2, 0, 1).contiguous()).permute(1, 2, 0)

    return run


def norse_loop() -> Method:
    from norse.torch import LIFBoxCell, LIFBoxFeedForwardState, LIFBoxParameters

    cell = LIFBoxCell(LIFBoxParameters(torch.tensor(1 - TAU)), dt=1.0)

    def run(x: Tensor) -> Tensor:
        state, out = LIFBoxFeedForwardState(torch.zeros_like(x[..., 0])), []
        for x_t in (x / (1 - TAU)).unbind(-1):  # norse weighs the input by 1 - tau
            s, state = cell(x_t, state)
            out.append(s)
        return torch.stack(out, dim=-1)

    return run


METHODS: dict[str, Callable[[], Method]] = {
    "bptt": official_loop,
    "bptt_unbind": lambda: named("bptt"),
    "sltt": lambda: named("bptt", gradient="sltt"),
    "spikingjelly": spikingjelly_multi_step,
    "snntorch": snntorch_loop,
    "norse": norse_loop,
    "sdn": published_sdn,
    "sdn_folded": folded_sdn,
    "sdn_unfolded": lambda: named("sdn"),
    "pmbc": lambda: refractory("pmbc"),
    "block": lambda: named("block"),
    "scan": lambda: named("scan"),
    "scan_refractory": lambda: refractory("scan"),
}


def bandwidth() -> float:
    """Bytes a second of a copy that doesn't fit in cache, read and write."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(times[2:])


def passes(method: Method, x: Tensor, grad: Tensor, spell: float) -> list[float]:
    """Milliseconds of forward and backward, again and again for ``spell`` seconds, at least once."""
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < spell:
        x.grad = None
        start = time.perf_counter()
        method(x).backward(grad)
        times.append(1000 * (time.perf_counter() - start))
    return times


def compare(chosen: dict[str, Method], rows: int, length: int, speed: float) -> list[dict[str, Any]]:
    """A row for each method at one size, timed in turns."""
    x = torch.randn(1, rows, length, requires_grad=True)
    grad = torch.randn_like(x)
    floor = 1000 * FLOOR * x.numel() / speed
    size = {"L": length, "rows": rows}
    results = []
    if "bptt" in chosen and (seconds := 2 * x.nbytes * length / speed) > LIMIT:
        results.append({"method": "bptt", **size, "skipped": f"its backward would take over {seconds:.0f} s"})
        chosen = {name: method for name, method in chosen.items() if name != "bptt"}
    for method in chosen.values():
        passes(method, x, grad, 0)  # compile, touch memory
    turns = [{name: passes(method, x, grad, SPELL) for name, method in chosen.items()} for _ in range(TURNS)]
    for name in chosen:
        times = [t for turn in turns for t in turn[name]]
        ms = statistics.median(times)
        row = {"method": name, **size, "ms": round(ms, 3), "best_ms": round(min(times), 3)}
        row["floor_share"] = round(floor / ms, 3)
        for other in ("bptt", "sdn"):
            if other in chosen:
                ratios = [statistics.median(turn[other]) / statistics.median(turn[name]) for turn in turns]
                row[f"times_{other}"] = round(statistics.median(ratios), 2)
        results.append(row)
    return results


def peak_memory(method: Method, x: Tensor, grad: Tensor) -> int | None:
    """Bytes that one forward and backward adds to the process's memory; None where the system can't say."""
    try:
        x.grad = None
        _buffers.forget()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here

        def field(name: str) -> int:
            text = Path("/proc/self/status").read_text()
            return 1024 * int(text.split(name + ":")[1].split()[0])

        before = field("VmRSS")
        method(x).backward(grad)
        return max(0, field("VmHWM") - before)
    except (OSError, AttributeError):
        return None


def cost(chosen: dict[str, Method]) -> list[dict[str, Any]]:
    """Time and memory against L at 64 rows, and against rows at L = 1024."""
    results = []
    for rows, length in [(64, 1 << k) for k in range(10, 17)] + [(1 << k, 1024) for k in range(7, 13)]:
        x = torch.randn(1, rows, length, requires_grad=True)
        grad = torch.randn_like(x)
        for name, method in chosen.items():
            passes(method, x, grad, 0)
            ms = statistics.median(passes(method, x, grad, 10 * SPELL))
            size = {"method": name, "L": length, "rows": rows}
            results.append(size | {"ms": round(ms, 3), "peak_bytes": peak_memory(method, x, grad)})
    return results


def plot(report: dict[str, Any], path: Path) -> None:
    """Milliseconds for each method and size; where there is a cost sweep, time and memory against L and rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in report["rows"] if "ms" in row]
    sizes = sorted({(row["rows"], row["L"]) for row in timed})
    panels = [("L", "ms"), ("rows", "ms"), ("L", "peak_bytes")] if "cost" in report else []
    figure, axes = pyplot.subplots(1, 1 + len(panels), figsize=(6 + 4 * len(panels), 4.5), squeeze=False)
    names = list(dict.fromkeys(row["method"] for row in timed))
    for i, (rows, length) in enumerate(sizes):
        ms = {row["method"]: row["ms"] for row in timed if (row["rows"], row["L"]) == (rows, length)}
        places = [names.index(name) + 0.8 * i / len(sizes) for name in ms]
        axes[0, 0].barh(places, list(ms.values()), height=0.8 / len(sizes), label=f"{rows} rows, L = {length}")
    axes[0, 0].set(xscale="log", xlabel="ms, forward and backward", yticks=range(len(names)), yticklabels=names)
    axes[0, 0].legend(fontsize="small")
    for axis, (against, quantity) in zip(axes[0, 1:], panels, strict=True):
        fixed, value = ("rows", 64) if against == "L" else ("L", 1024)
        for name in dict.fromkeys(row["method"] for row in report["cost"]):
            points = [r for r in report["cost"] if r["method"] == name and r[fixed] == value and r[quantity]]
            points.sort(key=lambda r: r[against])
            axis.plot([r[against] for r in points], [r[quantity] for r in points], "o-", label=name)
        axis.set(xscale="log", yscale="log", xlabel=against, ylabel=quantity, title=f"{fixed} = {value}")
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--lengths", default="1024,8192", show_default=True)
@click.option("--methods", "wanted", default=",".join(METHODS), show_default=True)
@click.option("--rows", default="64", show_default=True, help="B*H; several with commas.")
@click.option("--cost", "with_cost", is_flag=True, help="Also time and memory against L (1K..64K) and rows.")
def main(path: Path, lengths: str, wanted: str, rows: str, with_cost: bool) -> None:
    torch.manual_seed(0)
    chosen: dict[str, Method] = {}
    absent: dict[str, str] = {}
    for name in wanted.split(","):
        if name not in METHODS:
            raise click.BadParameter(f"unknown {name!r}, expected some of {', '.join(METHODS)}")
        try:
            chosen[name] = METHODS[name]()
        except ImportError as error:
            absent[name] = str(error)
            click.echo(f"{name}: absent ({error})")
    speed = bandwidth()
    report: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_before": os.getloadavg()[0],
            "bandwidth_gb_s": round(speed / 1e9, 2),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": version("numba"),
        },
        "absent": absent,
        "rows": [],
    }
    for count in (int(n) for n in rows.split(",")):
        for length in (int(n) for n in lengths.split(",")):
            for row in compare(chosen, count, length, speed):
                report["rows"].append(row)
                click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    if with_cost:
        report["cost"] = cost({name: method for name, method in chosen.items() if name in ("scan", "block")})
        for row in report["cost"]:
            click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    report["machine"]["load_after"] = os.getloadavg()[0]
    path.write_text(json.dumps(report, indent=1) + "\n")
    plot(report, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
