"""Training through a chip's integers: the forward pass is the integer program's, to the bit; gradients go straight
through what rounds.

``network``: a SpikingSSM whose forward pass is that of Loihi 2's stock mapping; ``straight``: what passes gradients.
"""

from train.quantised.network import QuantisedNetwork

__all__ = ["QuantisedNetwork"]
