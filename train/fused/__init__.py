"""A block computed together on the CPU, the method ``fused``: S4D and the neuron that it feeds; mix, residual, norm."""

from train.fused.block import block, holds
from train.fused.layer import spikes

__all__ = ["block", "holds", "spikes"]
