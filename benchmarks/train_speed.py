"""What a neuron costs in training, forward and backward: every parallel form, the usual loops, and other libraries.

python benchmarks/train_speed.py --json train_speed.json [--lengths 1024,8192] [--methods bptt,scan] [--rows 64]

All compute the hard-reset LIF of SpikingSSM (tau = 0.125, threshold 1, triangle surrogate) on N(0,1) input. The floor
is the memory traffic of a fused kernel that keeps nothing: 20 B an element in float32 (read x, write s; read x and the
gradient, write the gradient of x) at the bandwidth of a copy in the same run. Inputs that fit in cache can beat it.

bptt is the official code's loop and bptt_unbind ours, sdn as published, sdn_folded without its BatchNorm, sdn_unfolded
as our matrix products; pmbc and scan_refractory are of a refractory neuron, as PMBC has no hard reset.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import click
import measuring
import plots
import published
import torch
from measuring import Row, Tables
from published import TAU
from torch import Tensor

from train.neurons import methods
from train.neurons.bptt import Spike
from train.neurons.neuron import Neuron
from train.neurons.sdn import shipped
from train.neurons.sdn_network import SDN

FLOOR = 20  # bytes an element
TURNS = 2
SPELL = 0.05  # seconds that a fast method is repeated for in its turn
ROWS, LENGTHS = (64,), (1024, 8192)
MANY = (8192, 1024)  # rows and length that are measured too, if none are asked for
LOOP_LIMIT = 1 << 20  # elements: loops in Python take minutes for more
COPIED = 1 << 26
Method = Callable[[Tensor], Tensor]


def neuron(**fields: Any) -> Neuron:
    return Neuron("hard", torch.tensor(TAU), torch.tensor(1.0), **fields)


def published_sdn() -> Method:
    """SDN with its BatchNorm, in TorchScript. Random weights: they don't change the time."""
    return published.sdn(torch.jit.trace(SDN().eval(), torch.zeros(2, 64)))


def folded_sdn() -> Method:
    """BatchNorm folded, convolutions as published."""
    return published.sdn(shipped("hard", TAU).network)


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


OTHERS: dict[str, Callable[[], Method]] = {
    "snnTorch": snntorch_loop,
    "spikingjelly": spikingjelly_multi_step,
    "norse": norse_loop,
    "SDN as published": published_sdn,
}
"""Other libraries' neurons, and the papers'."""
LOOPS = ("bptt", "bptt_unbind", "sltt", "snntorch", "spikingjelly", "norse")
METHODS: dict[str, Callable[[], Method]] = {
    "bptt": lambda: published.loop,
    "bptt_unbind": lambda: named("bptt"),
    "sltt": lambda: named("bptt", gradient="sltt"),
    "snntorch": snntorch_loop,
    "spikingjelly": spikingjelly_multi_step,
    "norse": norse_loop,
    "sdn": published_sdn,
    "sdn_folded": folded_sdn,
    "sdn_unfolded": lambda: named("sdn"),
    "block": lambda: named("block"),
    "pmbc": lambda: refractory("pmbc"),
    "scan_refractory": lambda: refractory("scan"),
    "scan": lambda: named("scan"),
}


def bandwidth(floats: int) -> float:
    """Bytes a second of a copy, read and write."""
    source = torch.ones(floats)
    target = torch.empty_like(source)
    times = measuring.take_turns({"copy": measuring.timer(lambda: target.copy_(source))}, 7)["copy"]
    return 2 * source.nbytes / (statistics.median(times) / 1000)


def compare(chosen: dict[str, Method], rows: int, length: int, speed: float, smoke: bool) -> list[Row]:
    """A row for each method; *times* is as fast as the official loop, or what stands first without it."""
    x = torch.randn(1, rows, length, requires_grad=True)
    grad = torch.randn_like(x)

    def passes(method: Method) -> Callable[[], object]:
        return lambda: torch.autograd.grad(method(x), x, grad)

    spell, turns = (0, 1) if smoke else (SPELL, TURNS)
    timers = {name: measuring.timer(passes(method), spell=spell) for name, method in chosen.items()}
    base = next((name for name in ("bptt", "sdn") if name in chosen), next(iter(chosen)))
    found = measuring.compared(measuring.take_turns(timers, turns), base, "method", rows=rows, L=length)
    floor = 1000 * FLOOR * x.numel() / speed
    return [row | {"floor_share": measuring.significant(floor / row["ms"])} for row in found]


def measure(smoke: bool, lengths: tuple[int, ...], wanted: tuple[str, ...], rows: tuple[int, ...]) -> Tables:
    torch.manual_seed(0)
    chosen, absent = measuring.installed({name: METHODS[name] for name in wanted or METHODS})
    speed = bandwidth(1 << 10 if smoke else COPIED)
    shapes = [(count, length) for count in rows or ROWS for length in lengths or LENGTHS]
    if smoke:
        shapes = [(2, 8)]
    elif not rows and not lengths:
        shapes.append(MANY)
    found: list[Row] = []
    for count, length in shapes:
        few = wanted or count * length <= LOOP_LIMIT
        here = {name: method for name, method in chosen.items() if few or name not in LOOPS}
        found += compare(here, count, length, speed, smoke) if here else []
    return {"rows": found, "bandwidth": [{"gb_s": measuring.significant(speed / 1e9)}], "absent": absent}


SIZES = measuring.Listed(click.IntRange(1))
main = measuring.command(
    measure,
    click.option("--lengths", type=SIZES, default=(), help="Steps, with commas. Default: 1024,8192."),
    click.option(
        "--methods", "wanted", type=measuring.Listed(click.Choice(list(METHODS))), default=(),
        help="With commas. Default: all; loops but for more than a million elements.",
    ),
    click.option("--rows", type=SIZES, default=(), help="B * H, with commas. Default: 64; and 8192 of 1,024 steps."),
    plot=plots.methods,
)  # fmt: skip
if __name__ == "__main__":
    main()
