"""Integer operations: the fixed-point arithmetic of stock Lava (lava-nc 0.10, ``fixed_pt``) and a Speck's neuron.

``words``: 8-bit words and what a machine of integers can hold; ``linear``: synapses, the entry of reals, the readout;
``ssm``: the diagonal SSM; ``neurons``: current and hard-reset LIF; ``integrate``: Speck's, of 16 bits.
"""

from spikestrip.operations.fixed.integrate import HIGHEST, LOWEST, FixedIF
from spikestrip.operations.fixed.linear import FixedAffine, FixedInput, FixedReadout, FixedScale
from spikestrip.operations.fixed.neurons import FixedCurrent, FixedLIF
from spikestrip.operations.fixed.ssm import FixedS4D
from spikestrip.operations.fixed.words import FixedOperation, held

__all__ = [
    "HIGHEST",
    "LOWEST",
    "FixedAffine",
    "FixedCurrent",
    "FixedIF",
    "FixedInput",
    "FixedLIF",
    "FixedOperation",
    "FixedReadout",
    "FixedS4D",
    "FixedScale",
    "held",
]
