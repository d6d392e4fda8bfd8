"""Old name of convert.formats.nir.reading, kept until version 0.3."""

from convert.formats.nir.reading import Reading, Rules, read, reading

__all__ = ["Reading", "Rules", "read", "reading"]
