"""An operation that fails on purpose, in a module of its own: the process that runs it imports it."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from types import ModuleType
from typing import ClassVar

from spikestrip.operations import Array, Operation, Shape, State


@dataclasses.dataclass(eq=False)
class Faulty(Operation):
    """Passes its input on; at step 3 it does ``fault``, unless that is "slow", which makes every step slow."""

    kind: ClassVar[str] = "faulty"
    fault: str

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"t": (1,)}

    def step(self, xp: ModuleType, state: State, x: Array) -> tuple[State, Array]:
        t = state["t"] + 1
        if self.fault == "slow":
            time.sleep(0.02)
        elif int(t[0, 0]) == 3:
            match self.fault:
                case "raise":
                    raise RuntimeError("the third step is too much")
                case "shape":
                    x = x[:, :1]
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "exit":
                    os._exit(0)
        return {"t": t}, x
