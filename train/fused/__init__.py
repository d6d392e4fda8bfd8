"""A layer of S4D and the neuron that it feeds, computed together on the CPU: the method ``fused``."""

from train.fused.layer import spikes

__all__ = ["spikes"]
