"""Trainable modules for networks of your own, whose programs ``from_torch`` knows (docs/how-to-use-modules.md).

All take and give sequences (B, L, H), as torch's Linear does: float32 or float64. Every call begins at rest.
"""

from train.nn.lru import LRU
from train.nn.s4d import S4D
from train.nn.spiking import LIF, SpikingSSM

__all__ = ["LIF", "LRU", "S4D", "SpikingSSM"]
