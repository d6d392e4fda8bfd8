"""A block computed together on the CPU, the method ``fused``: S4D and the neuron that it feeds; mix, residual, norm."""

from train.fused.layer import spikes
from train.fused.mix import holds, mixed

__all__ = ["holds", "mixed", "spikes"]
