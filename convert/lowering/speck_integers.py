"""Whether a program is one of a Speck's integers, as ``speck`` of this folder writes them: a reason, as a value."""

from __future__ import annotations

import numpy as np

from spikestrip.operations import Affine, Conv2d, FixedIF, Flatten, Join, MultiSpikeIF, Operation, SumPool2d
from spikestrip.operations.fixed import HIGHEST, LOWEST
from spikestrip.program import INPUT, Layer, Program

WEIGHTS, NEURONS = (Conv2d, Affine), (FixedIF, MultiSpikeIF)
WRITES = "quantize --chip speck2f writes such"


def reason_against(program: Program, layer: Layer) -> str | None:
    """Why ``layer`` isn't one that a core of a Speck holds in integers, or None."""
    if layer.delayed:
        return "reads the previous step of another layer"
    return _against_operation(layer.operation) or _against_place(program, layer)


def _against_operation(operation: Operation) -> str | None:
    if isinstance(operation, Conv2d | Affine):
        weight = operation.weight
        if (weight != np.rint(weight)).any() or weight.min(initial=0) < -128 or weight.max(initial=0) > 127:
            return f"has weights that aren't integers of 8 bits; {WRITES}"
        return None if operation.bias is None else "has a bias, which a core adds by a clock of its own"
    if type(operation) is MultiSpikeIF:
        bounds = np.stack([operation.threshold, operation.floor])
        whole = (bounds == np.rint(bounds)).all() and bounds.min() >= LOWEST and bounds.max() <= HIGHEST
        return None if whole else f"has thresholds that aren't integers of 16 bits; {WRITES}"
    if type(operation) is SumPool2d:
        window = operation.kernel_y * operation.kernel_x
        # LPPool2d takes the mean and multiplies it again
        return f"sinabs' sum over {window} values rounds: {window} is no power of 2" if window & (window - 1) else None
    if type(operation) in (FixedIF, Flatten, Join):
        return None
    return f"is none of a core's integer operations; {WRITES}"


def _against_place(program: Program, layer: Layer) -> str | None:
    sums = [name != INPUT and isinstance(program[name].operation, WEIGHTS) for name in layer.inputs]
    if isinstance(layer.operation, NEURONS):
        return None if sums == [True] else "one convolution or matrix must stand right before these neurons"
    if any(sums) or (layer.name == program.output and isinstance(layer.operation, WEIGHTS)):
        return "sums go elsewhere than into neurons, and cores send spikes alone"
    if not any(isinstance(other.operation, NEURONS) for other in program.layers):
        return "the program has no neurons"
    return None
