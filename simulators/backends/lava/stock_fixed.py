"""An integer program as a network of stock lava-nc processes alone, fixed point: what a chip's compiler would take.

Every stock synapse sends a step late, so that a process that stands ``depth`` synapses behind the input does in Lava's
step t + depth what the program says of step t: paths that meet are made equally long (DelaySparse; DelayDense would add
in int64 before it shifts), and constant sources begin with their depth. Nothing else is added, and the arithmetic is
stock Lava's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulators.backends.lava import compat
from simulators.backends.lava.stock_network import LONGEST_DELAY, Builder
from spikestrip.errors import Refused
from spikestrip.operations import (
    FixedAffine,
    FixedLIF,
    FixedReadout,
    FixedS4D,
    FixedScale,
    Join,
    Scale,
)
from spikestrip.program import Layer, Program

MESSAGE_BITS = 24
SYNAPSES = (FixedAffine, FixedScale)


def readers(program: Program, name: str) -> list[Layer]:
    """The layers that read ``name`` in the same step."""
    return [layer for layer in program.layers if name in layer.inputs]


class FixedBuilder(Builder):
    """Builds the network of a program of integers that ``stock.refuses`` doesn't refuse."""

    tag = "fixed_pt"

    def __init__(self, program: Program, x: np.ndarray) -> None:
        with compat.importable():
            from lava.proc.graded.process import GradedVec
            from lava.proc.io.source import RingBuffer
            from lava.proc.lif.process import LIF
            from lava.proc.sdn.process import Sigma
            from lava.proc.sparse.process import DelaySparse, Sparse
            from lava.utils.weightutils import SignMode
        self.DelaySparse, self.GradedVec, self.RingBuffer, self.LIF = DelaySparse, GradedVec, RingBuffer, LIF
        self.Sigma, self.Sparse, self.SignMode = Sigma, Sparse, SignMode
        super().__init__(program, x)
        first = program.layers[0]
        integers = np.asarray(first.operation.step(np, {}, x.astype(np.float64))[1], np.int64)
        source = self._add(first.name, RingBuffer(data=self._data(integers, np.int32)))
        self._sent(first.name, source.s_out, 0)
        for layer in program.layers[1:]:
            self._layer(layer)

    def _layer(self, layer: Layer) -> None:
        operation, name = layer.operation, layer.name
        size = self.copies * self.program.shapes[name][0]
        if isinstance(operation, FixedS4D):
            self._s4d(layer, operation)
        if isinstance(operation, (*SYNAPSES, FixedS4D)):
            if not any(self._receives(reader) for reader in readers(self.program, name)):
                self._graded(name, [name], size)  # what synapses read is sent by a neuron that passes it on
        elif isinstance(operation, Join):
            self._graded(name, list(layer.inputs), size)
        elif isinstance(operation, FixedLIF):
            lif = self.LIF(shape=(size,), du=4095, dv=operation.dv, vth=operation.vth, bias_mant=0, name=name)
            self._sent(name, lif.s_out, self._enter(self._add(name, lif).a_in, list(layer.inputs), size))
            self._holds(name, {"v": (lif.v, slice(None))}, self.network.depth[name])
        elif isinstance(operation, FixedReadout):
            sigma = self._add(name, self.Sigma(shape=(size,)))
            self._sent(name, sigma.s_out, self._enter(sigma.a_in, list(layer.inputs), size))
            self._holds(name, {"sigma": (sigma.sigma, slice(None))}, self.network.depth[name])
        else:  # the scale back to reals: outside
            self._sent(name, self.network.sends[layer.inputs[0]], self.network.depth[layer.inputs[0]])

    @staticmethod
    def _receives(reader: Layer) -> bool:
        return isinstance(reader.operation, Join | FixedLIF | FixedReadout)

    def _graded(self, name: str, synapses: list[str], size: int) -> None:
        """Send the sum on: a GradedVec, or, of the output, an identity: a GradedVec sends nothing for -2^31."""
        if all(isinstance(reader.operation, Scale) for reader in readers(self.program, name)):
            whole = self._process(f"{name}_node", np.eye(size, dtype=np.int32), 0)
            self._sent(name, whole.a_out, self._enter(whole.s_in, synapses, size) + 1)
            return
        node = self._add(f"{name}_node", self.GradedVec(shape=(size,), vth=0))
        self._sent(name, node.s_out, self._enter(node.a_in, synapses, size))

    def _enter(self, port: Any, synapses: list[str], size: int) -> int:
        """Connect the processes of ``synapses`` to ``port`` so that all arrive together; returns the depth there."""
        depth = 1 + max(self.network.depth[self._from(name)] for name in synapses)
        for name in synapses:
            operation = self.program[name].operation
            source = self._from(name)
            late = depth - 1 - self.network.depth[source]
            for k, (word, exponent) in enumerate(self._matrices(name, operation)):
                graded = not self._binary(source)
                self._synapse(f"{name}_word{k}", word, exponent, self.network.sends[source], port, graded, late)
            bias = getattr(operation, "bias", None)
            if bias is not None and bias.any():
                data = self._constant(bias, depth, np.int32)
                self._add(f"{name}_bias", self.RingBuffer(data=data)).s_out.connect(port)
        return depth

    def _from(self, name: str) -> str:
        """The node that a synapse reads; an SSM is read through its own states."""
        return f"{name}/states" if isinstance(self.program[name].operation, FixedS4D) else self.program[name].inputs[0]

    def _binary(self, source: str) -> bool:
        return source in {layer.name for layer in self.program.spiking}

    def _matrices(self, name: str, operation: Any) -> list[tuple[np.ndarray, int]]:
        """(out, in) of each word, and its exponent."""
        if isinstance(operation, FixedScale):
            return [(np.diag(w), int(e)) for w, e in zip(operation.weight, operation.exponent, strict=True)]
        if isinstance(operation, FixedAffine):
            return [(w.T, int(e)) for w, e in zip(operation.weight, operation.exponent, strict=True)]
        modes, channels = operation.a_re.shape[1:]
        spread = np.tile(np.eye(channels, dtype=np.int64), (1, modes))
        return [
            (np.concatenate([spread * re.reshape(-1), spread * im.reshape(-1), np.diag(d)], axis=1), int(e))
            for re, im, d, e in zip(operation.c_re, operation.c_im, operation.d, operation.c_exp, strict=True)
        ]

    def _s4d(self, layer: Layer, operation: FixedS4D) -> None:
        """GradedVec: re and im of every mode, and the input, which the readout's D reads with them."""
        name, source = layer.name, layer.inputs[0]
        modes, channels = operation.a_re.shape[1:]
        half = modes * channels
        size = 2 * half + channels
        node = self._add(f"{name}_states", self.GradedVec(shape=(self.copies * size,), vth=0))
        depth = self.network.depth[source] + 1
        self._sent(f"{name}/states", node.s_out, depth)
        rows, columns = np.arange(half), np.tile(np.arange(channels), modes)

        def block(re: np.ndarray, im: np.ndarray, wide: bool) -> Any:
            from scipy.sparse import coo_matrix

            re, im = re.reshape(-1).astype(np.int64), im.reshape(-1).astype(np.int64)
            if wide:  # a product of complex numbers
                entries = np.concatenate([re, -im, im, re])
                at = (np.concatenate([rows, rows, rows + half, rows + half]),
                      np.concatenate([rows, rows + half, rows, rows + half]))  # fmt: skip
            else:
                entries, at = np.concatenate([re, im]), (np.concatenate([rows, rows + half]), np.tile(columns, 2))
            return coo_matrix((entries, at), shape=(size, size if wide else channels))

        def one(at: np.ndarray, to: np.ndarray, width: int) -> Any:
            from scipy.sparse import coo_matrix

            return coo_matrix((np.ones(len(at), np.int64), (to, at)), shape=(size, width))

        states, taken = np.arange(2 * half), np.arange(channels)
        keep = self._synapse(f"{name}_keep", one(states, states, size), 0, node.s_out, node.a_in)
        for k, (re, im, e) in enumerate(zip(operation.a_re, operation.a_im, operation.a_exp, strict=True)):
            self._synapse(f"{name}_a{k}", block(re, im, True), int(e), node.s_out, node.a_in)
        sends = self.network.sends[source]
        graded = not self._binary(source)
        for k, (re, im, e) in enumerate(zip(operation.b_re, operation.b_im, operation.b_exp, strict=True)):
            self._synapse(f"{name}_b{k}", block(re, im, False), int(e), sends, node.a_in, graded)
        self._synapse(f"{name}_pass", one(taken, taken + 2 * half, channels), 0, sends, node.a_in, graded)
        if operation.rounding:
            data = np.zeros((1, self.longest), np.int32)
            data[:, depth - 1 :] = operation.rounding
            constant = self._add(f"{name}_constant", self.RingBuffer(data=data))
            ones = one(np.zeros(2 * half, int), states, 1)
            self._synapse(f"{name}_rounding", ones, 0, constant.s_out, node.a_in, apart=False)
        parts = {part: (keep.a_buff, slice(first, first + half)) for part, first in (("re", 0), ("im", half))}
        self._holds(name, parts, depth)

    def _synapse(
        self,
        name: str,
        matrix: Any,
        exponent: int,
        sends: Any,
        port: Any,
        graded: bool = True,
        late: int = 0,
        apart: bool = True,
    ) -> Any:
        """``matrix`` for every copy of the network, connected; ``apart``: each copy has its own source."""
        from scipy.sparse import kron

        copies = np.eye(self.copies) if apart else np.ones((self.copies, 1))
        process = self._process(name, kron(copies, matrix), exponent, graded, late)
        sends.connect(process.s_in)
        process.a_out.connect(port)
        return process

    def _process(self, name: str, matrix: Any, exponent: int, graded: bool = True, late: int = 0) -> Any:
        from scipy.sparse import csr_matrix

        whole = csr_matrix(matrix).astype(np.int32)
        low, high = whole.min(), whole.max()
        one_sign = self.SignMode.INHIBITORY if low < 0 else self.SignMode.EXCITATORY
        mode = self.SignMode.MIXED if low < 0 < high else one_sign
        bits = MESSAGE_BITS if graded else 0
        options = {"weight_exp": exponent, "sign_mode": mode, "num_message_bits": bits, "name": name}
        if late > LONGEST_DELAY:
            raise Refused(name, f"must wait {late} steps, and a delay has 6 bits")
        if late:
            delays = (whole != 0).astype(int) * late
            return self._add(name, self.DelaySparse(weights=whole, delays=delays, **options))
        return self._add(name, self.Sparse(weights=whole, **options))
