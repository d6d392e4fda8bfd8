"""The raster backend: the oracle's fast twin, layer by layer over many steps at once."""

from simulators.backends.raster.backend import RasterBackend

__all__ = ["RasterBackend"]
