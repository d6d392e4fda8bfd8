"""The operations of a program, one small class each, and the table of them by kind."""

from spikestrip.operations.adaptive import AdaptiveLIF
from spikestrip.operations.base import COUNTERS, Array, Operation, Shape, SpikingOperation, State, reached, tree_sum
from spikestrip.operations.bernoulli import Bernoulli
from spikestrip.operations.clamp import Clamp
from spikestrip.operations.convolution import AvgPool2d, Conv1d, Conv2d, SumPool2d
from spikestrip.operations.fixed import (
    FixedAffine,
    FixedCurrent,
    FixedIF,
    FixedInput,
    FixedLIF,
    FixedModes,
    FixedOperation,
    FixedProgrammedLIF,
    FixedReadout,
    FixedRefractoryLIF,
    FixedS4D,
    FixedScale,
)
from spikestrip.operations.gelu import GELU
from spikestrip.operations.graded import GLU, LayerNorm
from spikestrip.operations.linear import Affine, Join, Scale
from spikestrip.operations.max_pool import MaxPool2d
from spikestrip.operations.neurons import LIF, LeakyIntegrator, RefractoryLIF
from spikestrip.operations.several import UNBOUNDED, MultiSpikeIF, MultiSpikeLIF
from spikestrip.operations.shaping import Pad, Reshape
from spikestrip.operations.ssm import S4D
from spikestrip.operations.wiring import Delay, Flatten, Threshold

OPERATIONS: dict[str, type[Operation]] = {
    operation.kind: operation
    for operation in (
        *(Affine, Scale, Join, S4D, LIF, RefractoryLIF, AdaptiveLIF, LeakyIntegrator, GLU, LayerNorm),
        *(Conv1d, Conv2d, SumPool2d, AvgPool2d, MaxPool2d, Flatten, Reshape, Pad, Delay, Threshold),
        *(Bernoulli, GELU, Clamp, MultiSpikeIF, MultiSpikeLIF),
        *(FixedInput, FixedAffine, FixedScale, FixedS4D, FixedCurrent, FixedLIF, FixedIF, FixedReadout),
        *(FixedModes, FixedProgrammedLIF, FixedRefractoryLIF),
    )
}

__all__ = [
    "COUNTERS",
    "GELU",
    "GLU",
    "LIF",
    "OPERATIONS",
    "S4D",
    "UNBOUNDED",
    "AdaptiveLIF",
    "Affine",
    "Array",
    "AvgPool2d",
    "Bernoulli",
    "Clamp",
    "Conv1d",
    "Conv2d",
    "Delay",
    "FixedAffine",
    "FixedCurrent",
    "FixedIF",
    "FixedInput",
    "FixedLIF",
    "FixedModes",
    "FixedOperation",
    "FixedProgrammedLIF",
    "FixedReadout",
    "FixedRefractoryLIF",
    "FixedS4D",
    "FixedScale",
    "Flatten",
    "Join",
    "LayerNorm",
    "LeakyIntegrator",
    "MaxPool2d",
    "MultiSpikeIF",
    "MultiSpikeLIF",
    "Operation",
    "Pad",
    "RefractoryLIF",
    "Reshape",
    "Scale",
    "Shape",
    "SpikingOperation",
    "State",
    "SumPool2d",
    "Threshold",
    "reached",
    "tree_sum",
]
