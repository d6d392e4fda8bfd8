"""A program as ONNX: standard operators, or readable functions; a step, or a Scan over a sequence."""

from convert.formats.onnx.file import assemble, load_model, pieces, write
from convert.formats.onnx.graph import Dtype, Export, Form, export, refuses, states
from convert.formats.onnx.recovery import recover

__all__ = [
    "Dtype",
    "Export",
    "Form",
    "assemble",
    "export",
    "load_model",
    "pieces",
    "recover",
    "refuses",
    "states",
    "write",
]
