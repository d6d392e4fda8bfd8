"""Sinabs: the backend, and a program as an ordinary module of sinabs layers."""

from simulators.backends.sinabs.backend import SinabsBackend
from simulators.backends.sinabs.network import to_sinabs

__all__ = ["SinabsBackend", "to_sinabs"]
