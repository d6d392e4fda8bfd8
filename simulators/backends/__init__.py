"""The backends, one module each, found in the entry-point group ``spikestrip.backends``; and their interface."""

from simulators.backends.interface import Backend, Dtype, Progress, Recording, check, load, names

__all__ = ["Backend", "Dtype", "Progress", "Recording", "check", "load", "names"]
