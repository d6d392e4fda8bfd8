"""A tap: a process that listens to a port of a network of stock processes and records; it sends nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from simulators.backends.lava.node import TapNode


class Tap(AbstractProcess):
    """Hears one port. node: what it does with the messages, a TapNode."""

    def __init__(self, node: TapNode, size: int) -> None:
        super().__init__(name=f"tap_{node.name}", node=node)
        self.heard = InPort(shape=(size,))


class _TapModel(PyLoihiProcessModel):
    heard: PyInPort

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._node: TapNode = proc_params["node"]
        self._node.begin()

    def run_spk(self) -> None:
        with self._node.guard():
            self._node.record(self.time_step - 1, self.heard.recv())


@implements(proc=Tap, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FixedTapModel(_TapModel):
    heard: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)


@implements(proc=Tap, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class FloatTapModel(_TapModel):
    heard: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
