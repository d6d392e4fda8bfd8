"""The Lava backend: every layer is a process of the real lava-nc, run under supervision."""

from simulators.backends.lava.backend import LavaBackend

__all__ = ["LavaBackend"]
