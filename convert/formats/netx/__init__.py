"""lava-dl's NetX files: read as programs of integers."""

from convert.formats.netx.reading import reading

__all__ = ["reading"]
