"""Integer operations: the fixed-point arithmetic of stock Lava (lava-nc 0.10, ``fixed_pt``) and a Speck's neuron.

``words``: 8-bit words and what a machine of integers can hold; ``linear``: synapses, the entry of reals, the readout;
``ssm``: the diagonal SSM; ``neurons``: current and hard-reset LIF; ``integrate``: Speck's, of 16 bits. In arithmetic of
our own, for programmable neurons: ``modes``: the diagonal SSM; ``programmed``: soft-reset and refractory LIF.
"""

from spikestrip.operations.fixed.integrate import HIGHEST, LOWEST, FixedIF
from spikestrip.operations.fixed.linear import FixedAffine, FixedInput, FixedReadout, FixedScale
from spikestrip.operations.fixed.modes import FixedModes
from spikestrip.operations.fixed.neurons import FixedCurrent, FixedLIF
from spikestrip.operations.fixed.programmed import FixedProgrammedLIF, FixedRefractoryLIF
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
    "FixedModes",
    "FixedOperation",
    "FixedProgrammedLIF",
    "FixedReadout",
    "FixedRefractoryLIF",
    "FixedS4D",
    "FixedScale",
    "held",
]
