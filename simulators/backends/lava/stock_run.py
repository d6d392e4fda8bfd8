"""The run of a network of stock processes: taps on its spikes and output, and its last states, read from its Vars."""

from __future__ import annotations

import multiprocessing
import socket
from typing import Any

import numpy as np

from simulators.backends.lava import compat, report
from simulators.backends.lava.node import TapNode
from simulators.backends.lava.shared import AnonymousMemory, Layout, SharedArrays
from simulators.backends.lava.stock import to_lava
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
        shared[f"spikes/{layer.name}"] = ((batch, steps, program.shapes[layer.name][0]), "uint8")
    for layer in program.layers:
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
    x = arrays["input"]
    net = to_lava(program, x)
    last = program[program.output].operation
    scale = last.scale.astype(np.float64) if isinstance(last, Scale) else None
    taps = [(OUTPUT, program.output, "output", scale)]
    taps += [(layer.name, layer.name, f"spikes/{layer.name}", None) for layer in program.spiking]
    for name, layer_name, into, factor in taps:
        node = TapNode(name, into, net.depth[layer_name], factor, arrays, line)
        tap = Tap(node, len(x) * program.shapes[layer_name][0])
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


def _reporting(line: socket.socket) -> Any:
    """Lava keeps an actor's exception to itself: a stock process has no guard of ours, so its process gets one."""

    def run(actor: Any) -> None:
        with report.exceptions(line, "a stock process"):
            multiprocessing.Process.run(actor)

    return run
