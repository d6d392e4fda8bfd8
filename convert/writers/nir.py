"""Old name of convert.formats.nir.writing, kept until version 0.3."""

from convert.formats.nir.writing import graph, write

__all__ = ["graph", "write"]
