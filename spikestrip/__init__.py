"""Spikestrip strips networks trained in parallel back to iterative spiking neurons, and proves what that did."""

from spikestrip.errors import BadInput, Refused, SimulatorFault, SpikestripError
from spikestrip.program import Layer, Program, chain
from spikestrip.trace import Trace

__version__ = "0.1.0"
__all__ = ["BadInput", "Layer", "Program", "Refused", "SimulatorFault", "SpikestripError", "Trace", "chain"]
