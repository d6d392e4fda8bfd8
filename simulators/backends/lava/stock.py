"""A program as a network of stock lava-nc processes alone: whether it is one, and the network to take away."""

from __future__ import annotations

import numpy as np

from simulators.backends.lava import stock_float
from simulators.backends.lava.stock_fixed import SYNAPSES, FixedBuilder, readers
from simulators.backends.lava.stock_float import FloatBuilder
from simulators.backends.lava.stock_network import StockNetwork
from spikestrip.errors import Refused
from spikestrip.operations import (
    FixedCurrent,
    FixedInput,
    FixedLIF,
    FixedOperation,
    FixedReadout,
    FixedS4D,
    Join,
    Scale,
)
from spikestrip.program import INPUT, Layer, Program


def integers(program: Program) -> bool:
    """Whether ``program`` has whole numbers in it, and so runs in Lava's fixed point."""
    return any(isinstance(layer.operation, FixedOperation) for layer in program.layers)


def refuses(program: Program) -> str | None:
    """Why ``program`` is no network of stock processes of integers, or None. As processes of ours it runs anyway."""
    first = program.layers[0]
    if not isinstance(first.operation, FixedInput) or first.inputs != (INPUT,):
        return "it doesn't begin with fixed_input"
    for layer in program.layers[1:]:
        reason = _reason(program, layer)
        if reason is not None:
            return f"layer {layer.name} ({layer.operation.kind}) {reason}"
    return None


def _reason(program: Program, layer: Layer) -> str | None:
    operation = layer.operation
    sources = [program[source].operation for source in layer.inputs if source != INPUT]
    if layer.delayed or len(sources) < len(layer.inputs) or len(program.shapes[layer.name]) != 1:
        return "has a delayed edge, reads the input as it is, or no vector"
    if isinstance(operation, Scale):
        return None if layer.name == program.output and len(sources) == 1 else "multiplies reals"
    read = readers(program, layer.name)
    on = [each for each in read if not isinstance(each.operation, Scale)]
    ends = layer.name == program.output or len(on) < len(read)  # a GradedVec there would wrap, and send -2^31 as 0
    if ends and (isinstance(operation, Join) or (on and isinstance(operation, (*SYNAPSES, FixedS4D)))):
        return "is read out as well as read on, or is no synapse's own sum"
    if isinstance(operation, Join):
        alone = all(len(readers(program, source)) == 1 for source in layer.inputs)
        own = alone and all(isinstance(each, SYNAPSES) for each in sources)
        return None if own else "joins what is no synapse of its own"
    if isinstance(operation, FixedLIF | FixedReadout):
        if getattr(operation, "bias", None) is not None:
            return "has a bias, which stock LIF adds before the first input is there"
        if getattr(operation, "align", 6) != 6 or not isinstance(sources[0], (*SYNAPSES, FixedS4D)) or sources[1:]:
            return "isn't fed by one synapse"
        return None if len(readers(program, layer.inputs[0])) == 1 else "shares what enters it"
    if isinstance(operation, FixedCurrent) or not isinstance(operation, (*SYNAPSES, FixedS4D)):
        return "has no stock process here"
    if len(sources) != 1:
        return "reads several streams; join them first"
    return "reads what a Sigma sends" if isinstance(sources[0], FixedReadout) else None


def to_lava(program: Program, x: np.ndarray | None = None, steps: int = 1000) -> StockNetwork:
    """The program as connected stock lava-nc processes, to take away: of integers where it has any, else of float64.

    x: (B, T, *input_shape), the input of B copies of the network that stand side by side; without it one copy, whose
    source holds ``steps`` zeros. Importing Lava fixes multiprocessing's start method to fork. Raises Refused.
    """
    x = np.zeros((1, steps, *program.input_shape)) if x is None else x
    if integers(program):
        reason = refuses(program)
        if reason is not None:
            raise Refused("stock Lava", reason)
        return FixedBuilder(program, x).network
    for layer in program.layers:
        reason = stock_float.refuses(layer)
        if reason is not None:
            raise Refused(f"stock Lava, layer {layer.name} ({layer.operation.kind})", reason)
    return FloatBuilder(program, x).network
