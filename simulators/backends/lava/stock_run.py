"""The run of a network of stock processes: taps on its spikes and output, and its last states, read from its Vars."""

from __future__ import annotations

import math
import multiprocessing
import socket
from typing import Any

import numpy as np

from simulators.backends.lava import compat, report
from simulators.backends.lava.node import TapNode
from simulators.backends.lava.shared import AnonymousMemory, Layout, SharedArrays
from simulators.backends.lava.stock import integers, to_lava
from spikestrip.errors import BadInput
from spikestrip.operations import Scale
from spikestrip.program import Program

OUTPUT = "output stream"


def layout(program: Program, x: np.ndarray) -> Layout:
    """What a run shares: input, recordings, last states, and for each tap its process and the steps it has heard."""
    batch, steps = x.shape[:2]
    shared: Layout = {
        "input": (x.shape, "float64"),
        "output": ((batch, steps, *program.shapes[program.output]), "float64"),
        "processes": ((), "int64"),
        "delay": ((), "int64"),
    }
    for layer in program.spiking:
        shared[f"spikes/{layer.name}"] = ((batch, steps, math.prod(program.shapes[layer.name])), "uint8")
    for layer in program.layers if integers(program) else program.spiking:  # Lava can't read S4d's complex numbers
        for state, shape in program.state_shapes(layer).items():
            shared[f"state/{layer.name}/{state}"] = ((batch, *shape), "float64")
    for name in (OUTPUT, *(layer.name for layer in program.spiking)):
        shared[f"pid/{name}"] = ((), "int64")
        shared[f"done/{name}"] = ((), "int64")
    return shared


def run(program: Program, arrays: SharedArrays, line: socket.socket) -> None:
    """Run ``program`` on ``arrays["input"]``; the actors are left alive, as in ``network.run``."""
    with compat.importable():
        from lava.magma.runtime.message_infrastructure import multiprocessing as infrastructure

        from simulators.backends.lava.processes.taps import Tap
    infrastructure.SharedMemoryManager = AnonymousMemory
    infrastructure.SystemProcess.run = _reporting(line)
    if not integers(program):
        np.seterr(over="raise", invalid="raise")  # the actors inherit it
    x = arrays["input"]
    net = to_lava(program, x)
    last = program[program.output].operation
    scale = last.scale.astype(np.float64) if isinstance(last, Scale) and integers(program) else None
    taps = [(OUTPUT, program.output, "output", scale)]
    taps += [(layer.name, layer.name, f"spikes/{layer.name}", None) for layer in program.spiking]
    for name, layer_name, into, factor in taps:
        node = TapNode(name, into, net.depth[layer_name], factor, arrays, line)
        tap = Tap(node, len(x) * math.prod(program.shapes[layer_name]))
        net.sends[layer_name].connect(tap.heard)
    arrays["processes"][()], arrays["delay"][()] = len(net.processes), net.delay - 1
    done = 0
    for depth in sorted({*net.settled.values(), net.delay - 1}):
        net.run(x.shape[1] + depth - done)  # paused where the layers of this depth have done the input's last step
        done = x.shape[1] + depth
        for name, held in net.states.items():
            for state, (var, part) in held.items() if net.settled[name] == depth else ():
                target = arrays[f"state/{name}/{state}"]
                target[...] = np.asarray(var.get()).reshape(len(x), -1)[:, part].reshape(target.shape)
                if not np.isfinite(target).all():
                    raise BadInput(name, f"state {state!r} is no longer finite: the run overflowed")


def _reporting(line: socket.socket) -> Any:
    """Lava keeps an actor's exception to itself: a stock process has no guard of ours, so its process gets one."""

    def run(actor: Any) -> None:
        with report.exceptions(line, "a stock process"):
            try:
                multiprocessing.Process.run(actor)
            except FloatingPointError as error:
                raise BadInput("a stock process", f"the run overflowed: {error}") from error

    return run
