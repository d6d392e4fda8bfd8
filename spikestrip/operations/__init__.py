"""The operations of a program, one small class each, and the table of them by kind."""

from spikestrip.operations.base import COUNTERS, Array, Operation, Shape, SpikingOperation, State, tree_sum
from spikestrip.operations.graded import GLU, LayerNorm
from spikestrip.operations.linear import Affine, Join, Scale
from spikestrip.operations.neurons import LIF, LeakyIntegrator, RefractoryLIF
from spikestrip.operations.ssm import S4D

OPERATIONS: dict[str, type[Operation]] = {
    operation.kind: operation
    for operation in (Affine, Scale, Join, S4D, LIF, RefractoryLIF, LeakyIntegrator, GLU, LayerNorm)
}

__all__ = [
    "COUNTERS",
    "GLU",
    "LIF",
    "OPERATIONS",
    "S4D",
    "Affine",
    "Array",
    "Join",
    "LayerNorm",
    "LeakyIntegrator",
    "Operation",
    "RefractoryLIF",
    "Scale",
    "Shape",
    "SpikingOperation",
    "State",
    "tree_sum",
]
