"""Old name of convert.formats.onnx, kept until version 0.3."""

from convert.formats.onnx import assemble, export, load_model, pieces, refuses, states, write

__all__ = ["assemble", "export", "load_model", "pieces", "refuses", "states", "write"]
