"""The program as a network of Lava processes, and its run."""

from __future__ import annotations

import socket

from simulators.backends import Dtype
from simulators.backends.lava import compat, stock_run
from simulators.backends.lava.node import InputNode, LayerNode
from simulators.backends.lava.shared import AnonymousMemory, SharedArrays
from spikestrip.operations import FixedOperation
from spikestrip.program import INPUT, Program


def run(program: Program, dtype: Dtype, arrays: SharedArrays, line: socket.socket) -> None:
    """Run ``program`` on ``arrays["input"]`` to the last step: a process for the input, and one for each layer; or
    as stock processes, where the arrays are laid out for that.

    Lava's processes are left alive: whoever called this ends them. It must be a process of its own, since Lava fixes
    the start method of multiprocessing.
    """
    if "processes" in arrays.layout:
        return stock_run.run(program, arrays, line)
    with compat.importable():
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.core.run_configs import Loihi2SimCfg
        from lava.magma.runtime.message_infrastructure import multiprocessing as infrastructure

        from simulators.backends.lava.processes.nodes import Node, node_class
    infrastructure.SharedMemoryManager = AnonymousMemory

    def process(node: InputNode) -> Node:
        return node_class(node.edges, dtype, node.tags)(node)

    processes = {INPUT: process(InputNode(program, dtype, arrays, line))}
    for index, layer in enumerate(program.layers):
        processes[layer.name] = process(LayerNode(program, index, dtype, arrays, line))
    for layer in program.layers:
        ports = [processes[source].out for source in layer.inputs]
        ports += [processes[source].previous for source in layer.delayed]
        for edge, port in enumerate(ports):
            port.connect(getattr(processes[layer.name], f"edge_{edge}"))
    tag = "fixed_pt" if any(isinstance(layer.operation, FixedOperation) for layer in program.layers) else None
    steps = arrays["input"].shape[1]
    # every message is received in the step in which it was sent: short channels do, and stay in the cache
    processes[INPUT].run(RunSteps(steps), run_cfg=Loihi2SimCfg(select_tag=tag), compile_config={"pypy_channel_size": 2})
