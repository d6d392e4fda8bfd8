"""What the nodes of the network compute, with numpy alone; a Lava process holds one and moves its messages."""

from __future__ import annotations

import contextlib
import os
import socket

import numpy as np

from simulators.backends import Dtype
from simulators.backends.lava import report
from simulators.backends.lava.shared import SharedArrays
from spikestrip.errors import BadInput
from spikestrip.ledger import count_step
from spikestrip.operations import COUNTERS, FixedOperation, Shape
from spikestrip.program import INPUT, Program


class InputNode:
    """Sends the input, step by step.

    tags: of its process model in Lava.
    edges: how many streams enter; entering, sent: the shapes of their messages and of the answer, (B, *shape).
    """

    tags: tuple[str, ...] = ()

    def __init__(self, program: Program, dtype: Dtype, arrays: SharedArrays, line: socket.socket) -> None:
        self.name = INPUT
        self.dtype = dtype
        self.edges = 0
        self.entering: Shape = ()
        self.sent: Shape = (arrays["input"].shape[0], *program.input_shape)
        self._arrays = arrays
        self._line = line

    def begin(self) -> None:
        """Called once, in the process that holds this node."""
        self._arrays[f"pid/{self.name}"][()] = os.getpid()

    def guard(self) -> contextlib.AbstractContextManager[None]:
        """A context that reports an exception and ends the process."""
        return report.exceptions(self._line, f"layer {self.name}")

    def answer(self, t: int, messages: list[np.ndarray]) -> np.ndarray:
        """Step ``t``: the messages that entered, in the order of the edges -> the message to be sent."""
        return np.ascontiguousarray(self._arrays["input"][:, t])


class LayerNode(InputNode):
    """Adds what enters in the program's order, calls the operation's ``step``, records, and counts its own events."""

    def __init__(self, program: Program, index: int, dtype: Dtype, arrays: SharedArrays, line: socket.socket) -> None:
        super().__init__(program, dtype, arrays, line)
        layer = program.layers[index]
        batch, self._steps = arrays["input"].shape[:2]
        self.name = layer.name
        self.edges = len(layer.inputs) + len(layer.delayed)
        self.entering = (batch, *program.entering_shape(layer))
        self.sent = (batch, *program.shapes[layer.name])
        if isinstance(layer.operation, FixedOperation):
            self.tags = ("fixed_pt",)
        self._program = program
        self._layer = layer
        self._operation = layer.operation.bind(lambda array: array.astype(dtype))
        self._state = {name: np.zeros((batch, *shape), dtype) for name, shape in program.state_shapes(layer).items()}

    def answer(self, t: int, messages: list[np.ndarray]) -> np.ndarray:
        entering = messages[0]
        for message in messages[1:]:
            entering = entering + message
        self._state, sent = self._operation.step(np, self._state, entering)
        if sent.shape != self.sent or sent.dtype != self.dtype:
            raise ValueError(f"step gave {sent.dtype} of shape {sent.shape}, not {self.dtype} of shape {self.sent}")
        if self._layer.operation.spiking:
            self._arrays[f"spikes/{self.name}"][:, t] = sent.reshape(sent.shape[0], -1)
        if self.name == self._program.output:
            self._arrays["output"][:, t] = sent
        events = self._arrays[f"events/{self.name}"]
        for counter, value in count_step(self._program, self._layer, entering, sent).items():
            events[COUNTERS.index(counter), :, t] = value
        if t == self._steps - 1:
            self._end()
        self._arrays[f"done/{self.name}"][()] = t + 1
        return sent

    def _end(self) -> None:
        """Hand the last states over, if they're finite."""
        for variable, value in self._state.items():
            if not np.isfinite(value).all():
                raise BadInput(self.name, f"state {variable!r} is no longer finite: the run overflowed")
            self._arrays[f"state/{self.name}/{variable}"][...] = value


class TapNode:
    """Records what a stock process sends, aligned: its message of Lava's step t + depth is that of the input's step t.

    ``into``: the shared array (B, T, ...) that takes it; ``scale``: what an output is multiplied by, or None.
    """

    def __init__(
        self, name: str, into: str, depth: int, scale: np.ndarray | None, arrays: SharedArrays, line: socket.socket
    ) -> None:
        self.name = name
        self._into, self._depth, self._scale = into, depth, scale
        self._arrays, self._line = arrays, line

    def begin(self) -> None:
        self._arrays[f"pid/{self.name}"][()] = os.getpid()

    def guard(self) -> contextlib.AbstractContextManager[None]:
        return report.exceptions(self._line, f"layer {self.name}")

    def record(self, step: int, message: np.ndarray) -> None:
        t, target = step - self._depth, self._arrays[self._into]
        if not 0 <= t < target.shape[1]:
            return
        values = message.reshape(target[:, t].shape)
        target[:, t] = values if self._scale is None else self._scale * values
        self._arrays[f"done/{self.name}"][()] = t + 1
