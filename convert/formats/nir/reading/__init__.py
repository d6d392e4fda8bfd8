"""NIR in: our canonical files exactly, and any graph of standard primitives by an explicit rule."""

from convert.formats.nir.reading.file import Reading, read, reading
from convert.formats.nir.reading.rules import Rules

__all__ = ["Reading", "Rules", "read", "reading"]
