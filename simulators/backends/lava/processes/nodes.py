"""A node of the network, the input or a layer, as a Lava process that receives first and then sends."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from simulators.backends.lava.node import InputNode


class Node(AbstractProcess):
    """Ports carry the whole batch, (B, *shape), so that a batch is one run.

    ``edge_0``, ``edge_1``, ...: one for each stream that enters, since Lava adds what meets in one port in its own
    order. ``out`` carries the value of this step, ``previous`` that of the step before (zeros at the first).

    node: what it computes, an InputNode or a LayerNode.
    """

    def __init__(self, node: InputNode) -> None:
        super().__init__(name=node.name, node=node)
        self.out = OutPort(shape=node.sent)
        self.previous = OutPort(shape=node.sent)
        for edge in range(node.edges):
            setattr(self, f"edge_{edge}", InPort(shape=node.entering))


class NodeModel(PyLoihiProcessModel):
    """One step: send the previous value, receive this step's messages, answer, send the answer.

    No step is added, and a cycle doesn't lock: each has an edge from ``previous``, which is sent before receiving.
    """

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._node: InputNode = proc_params["node"]
        self._node.begin()
        self._last = np.zeros(self._node.sent, self._node.dtype)

    def run_spk(self) -> None:
        with self._node.guard():
            self.previous.send(self._last)
            messages = [getattr(self, f"edge_{edge}").recv() for edge in range(self._node.edges)]
            self._last = self._node.answer(self.time_step - 1, messages)
            self.out.send(self._last)


@functools.cache
def node_class(edges: int, dtype: str, tags: tuple[str, ...]) -> type[Node]:
    """The process class for nodes with this many edges; Lava wants each port declared in the class of the model."""
    name = "_".join(("Node", str(edges), dtype, *tags))
    process = type(name, (Node,), {"__module__": __name__})
    kind = np.dtype(dtype).type
    ports = {port: LavaPyType(PyOutPort.VEC_DENSE, kind) for port in ("out", "previous")}
    ports |= {f"edge_{edge}": LavaPyType(PyInPort.VEC_DENSE, kind) for edge in range(edges)}
    model = type(f"{name}_model", (NodeModel,), {"__module__": __name__, **ports})
    if tags:
        model = tag(*tags)(model)
    model = requires(CPU)(implements(proc=process, protocol=LoihiProtocol)(model))
    globals().update({process.__name__: process, model.__name__: model})  # where Lava's compiler looks for a model
    return process
