"""A float program as a network of stock lava-nc processes alone, floating point: LIF, Sparse, S4d and RingBuffer.

A synapse, whatever is linear without memory, is a Sparse, one step late. Values stay what they are in LIF's float model
(hard reset to 0, one decay and one threshold) and in S4d, a diagonal recurrence ``s = a s + b x``, sent as
``Re(2 c s)``, which adds no step: with a = 0 and c = 1/2 it passes on what it adds, or scales it; with real a it is a
leaky integrator; between two Sparse it is a whole S4D layer, D being one more mode with a = 0. Paths that meet are made
equally long by Sparse identities. Sums are taken in Lava's order, so that they may round otherwise than the oracle's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from simulators.backends.lava import compat
from simulators.backends.lava.stock_network import Builder
from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    S4D,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Join,
    LeakyIntegrator,
    Operation,
    Pad,
    Reshape,
    Scale,
    Shape,
    SumPool2d,
    Threshold,
)
from spikestrip.program import INPUT, Layer, Program

SYNAPSES = (Affine, Conv1d, Conv2d, SumPool2d, AvgPool2d, Pad)
HELD = (*SYNAPSES, S4D, Delay, Scale, Join, Flatten, Reshape, LeakyIntegrator)
GRADED_BITS = 24  # any number but 0, which stands for spikes: floats have no width
UNIT_VECTORS = 256


def refuses(layer: Layer) -> str | None:
    """Why stock processes can't hold ``layer`` in float64, or None."""
    operation = layer.operation
    if isinstance(operation, HELD):
        return None
    if not isinstance(operation, LIF | Threshold):
        return "has no process in stock Lava's floating point"
    if isinstance(operation, LIF):
        if operation.reset_kind == "soft":
            return "resets by subtraction, and a stock LIF to 0"
        if operation.v_reset is not None and operation.v_reset.any():
            return "resets to another value than 0"
        decays = np.unique(operation.decay)
        if len(decays) > 1:
            return f"has {len(decays)} decays, and a stock LIF one"
        if 1 - (1 - decays[0]) != decays[0]:
            return f"has the decay {decays[0]!s}, and a stock LIF has 1 - dv, which float64 can't make equal"
    thresholds = np.unique(operation.threshold)
    if len(thresholds) > 1:
        return f"has {len(thresholds)} thresholds, and a stock LIF one"
    if thresholds[0] < 0 or (thresholds[0] == 0 and operation.comparison == "ge"):
        return "fires at rest, and a stock LIF would before the first input has come"
    return None


def entries(program: Program) -> dict[str, int]:
    """For each layer the steps by which what enters it is late, as few as can be. Raises Refused where none will do."""
    entry = {layer.name: 0 for layer in program.layers}
    for _ in range(len(program.layers) + 1):
        before = dict(entry)
        late = {INPUT: 0, **{layer.name: entry[layer.name] + _steps(layer.operation) for layer in program.layers}}
        for layer in program.layers:
            ready = [late[source] for source in layer.inputs] + [late[source] - 1 for source in layer.delayed]
            entry[layer.name] = max(0, *ready)
            late[layer.name] = entry[layer.name] + _steps(layer.operation)
        if entry == before:
            return entry
    name = next(name for name in entry if entry[name] != before[name])
    raise Refused(f"layer {name}", "stands in a cycle with more stock synapses, a step each, than delayed edges")


def _steps(operation: Operation) -> int:
    """By how many steps the stock processes of ``operation`` are late."""
    return 2 if isinstance(operation, S4D) else int(isinstance(operation, (*SYNAPSES, Delay)))


class FloatBuilder(Builder):
    """Builds the network of a program of which neither ``refuses`` nor ``entries`` refuses anything."""

    tag = "floating_pt"

    def __init__(self, program: Program, x: np.ndarray) -> None:
        with compat.importable():
            from lava.proc.io.source import RingBuffer
            from lava.proc.lif import process as lif
            from lava.proc.s4d.process import S4d
            from lava.proc.sparse.process import Sparse
        self.RingBuffer, self.StockLIF, self.S4d, self.Sparse = RingBuffer, lif.LIF, S4d, Sparse
        super().__init__(program, x)
        self._entry = entries(program)
        self._later: dict[tuple[str, int], Any] = {}
        self._sent(INPUT, self._add(INPUT, RingBuffer(data=self._data(x.astype(np.float64), np.float64))).s_out, 0)
        ports = {layer.name: self._layer(layer) for layer in program.layers}
        for layer in program.layers:
            depth = self._entry[layer.name]
            for source in layer.inputs:
                self._at(source, depth).connect(ports[layer.name])
            for source in layer.delayed:
                self._at(source, depth + 1).connect(ports[layer.name])

    def _at(self, source: str, depth: int) -> Any:
        """The port that sends ``source`` ``depth`` steps late: its own, or that of a Sparse identity behind it."""
        if depth == self.network.depth[source]:
            return self.network.sends[source]
        if (source, depth) not in self._later:
            one = np.eye(math.prod(self.program.shapes[source]))
            line = self._synapse(f"{source}_later{depth}", one)
            self._at(source, depth - 1).connect(line.s_in)
            self._later[source, depth] = line.a_out
        return self._later[source, depth]

    def _layer(self, layer: Layer) -> Any:
        """Make the processes of ``layer``; returns the port where what enters it adds up."""
        operation, name, depth = layer.operation, layer.name, self._entry[layer.name]
        shape = self.program.entering_shape(layer)
        bias: np.ndarray | None = None
        if isinstance(operation, SYNAPSES):
            matrix, bias = _written_out(operation, shape)
            synapse = self._synapse(name, matrix, self.program.is_binary(layer))
            entry, sends = synapse.s_in, synapse.a_out
            if bias.any():
                node = self._diagonal(f"{name}_sum", np.ones(bias.size))
                self._source(name, bias, depth + 1).connect(node.a_in)
                sends.connect(node.a_in)
                sends = node.s_out
            self._sent(name, sends, depth + 1)
            return entry
        if isinstance(operation, S4D):
            return self._s4d(name, operation, depth)
        if isinstance(operation, Delay):
            return self._delay(name, operation, depth)
        size = math.prod(shape)
        if isinstance(operation, LIF | Threshold):
            vth = float(operation.threshold.flat[0])
            node = self.StockLIF(
                shape=(self.copies * size,),
                du=1.0,
                dv=1 - float(operation.decay.flat[0]) if isinstance(operation, LIF) else 1.0,
                vth=np.nextafter(vth, -np.inf) if operation.comparison == "ge" else vth,
                name=name,
            )
            self._add(name, node)
            if isinstance(operation, LIF):
                self._holds(name, {"u": (node.v, slice(None))}, depth)
        elif isinstance(operation, LeakyIntegrator):
            node = self._diagonal(name, np.ones(size), operation.decay)
        else:
            node = self._diagonal(name, operation.scale if isinstance(operation, Scale) else np.ones(size))
        self._sent(name, node.s_out, depth)
        bias, gain = getattr(operation, "bias", None), getattr(operation, "gain", None)
        if bias is not None and bias.any():
            self._source(name, bias, depth).connect(node.a_in)
        if gain is None:
            return node.a_in
        scaled = self._diagonal(f"{name}_gain", gain)
        scaled.s_out.connect(node.a_in)
        return scaled.a_in

    def _s4d(self, name: str, operation: S4D, depth: int) -> Any:
        """Every channel to its modes and to D; one S4d; the sum over modes."""
        modes, channels = operation.a_re.shape
        spread = np.tile(np.eye(channels), (modes + 1, 1))
        zeros, ones = np.zeros((1, channels)), np.ones((1, channels))
        a = np.concatenate([operation.a_re + 1j * operation.a_im, zeros])
        b = np.concatenate([operation.b_re + 1j * operation.b_im, ones * operation.d])
        c = np.concatenate([operation.c_re + 1j * operation.c_im, ones / 2])
        node = self._diagonal(f"{name}_modes", b, a, c)
        to, out = self._synapse(f"{name}_spread", spread), self._synapse(name, spread.T)
        to.a_out.connect(node.a_in)
        node.s_out.connect(out.s_in)
        self._sent(name, out.a_out, depth + 2)
        return to.s_in

    def _delay(self, name: str, operation: Delay, depth: int) -> Any:
        """A line of Sparse identities, and from each of its places a Sparse of those that leave it there."""
        taps = operation.taps.reshape(len(operation.taps), -1)
        entry = self._diagonal(f"{name}_entry", np.ones(taps.shape[1]))
        node = self._diagonal(name, np.ones(taps.shape[1]))
        port = entry.s_out
        for steps, taken in enumerate(taps):
            if steps:
                line = self._synapse(f"{name}_line{steps}", np.eye(len(taken)))
                port.connect(line.s_in)
                port = line.a_out
            tap = self._synapse(f"{name}_tap{steps}", np.diag(taken))
            port.connect(tap.s_in)
            tap.a_out.connect(node.a_in)
        self._sent(name, node.s_out, depth + 1)
        return entry.a_in

    def _diagonal(self, name: str, b: np.ndarray, a: np.ndarray | None = None, c: np.ndarray | None = None) -> Any:
        """An S4d for every copy: s = a s + b x, sends 2 Re(c s); without a it holds nothing, without c it sends s."""
        every = [np.zeros(b.shape) if a is None else a, b, np.full(b.shape, 0.5) if c is None else c]
        a, b, c = (np.tile(each.reshape(-1).astype(np.complex128), self.copies) for each in every)
        return self._add(name, self.S4d(shape=(len(b),), a=a, b=b, c=c))

    def _source(self, name: str, values: np.ndarray, first: int) -> Any:
        """A port that sends ``values`` in every step from ``first`` on."""
        data = self._constant(values.astype(np.float64), first, np.float64)
        return self._add(f"{name}_bias", self.RingBuffer(data=data)).s_out

    def _synapse(self, name: str, matrix: Any, binary: bool = False) -> Any:
        """A Sparse of ``matrix`` (out, in) for every copy of the network. ``binary``: it reads spikes alone."""
        from scipy.sparse import csr_matrix, kron

        whole = csr_matrix(kron(np.eye(self.copies), matrix)).astype(np.float64)
        return self._add(name, self.Sparse(weights=whole, num_message_bits=0 if binary else GRADED_BITS, name=name))


def _written_out(operation: Any, shape: Shape) -> tuple[Any, np.ndarray]:
    """A linear operation as a sparse matrix (out, in), by its answers to unit vectors, and its bias (out,)."""
    from scipy.sparse import csr_matrix, vstack

    def answers(held: Operation, x: np.ndarray) -> np.ndarray:
        return np.asarray(held.step(np, {}, x.reshape(-1, *shape))[1], np.float64).reshape(len(x), -1)

    operation = operation.bind(lambda array: array.astype(np.float64))
    linear = dataclasses.replace(operation, bias=None) if hasattr(operation, "bias") else operation
    size = math.prod(shape)
    parts = [range(first, min(first + UNIT_VECTORS, size)) for first in range(0, size, UNIT_VECTORS)]
    rows = [csr_matrix(answers(linear, np.eye(len(part), size, part.start))) for part in parts]
    return vstack(rows).T, answers(operation, np.zeros((1, size)))[0]
