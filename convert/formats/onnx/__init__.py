"""A program as ONNX: standard operators, or readable functions; a step, or a Scan over a sequence."""

from convert.formats.onnx.file import assemble, load_model, pieces, write
from convert.formats.onnx.graph import Dtype, Export, Form, export, refuses, states
from convert.lowering.int8 import cost, quantised

__all__ = [
    "Dtype",
    "Export",
    "Form",
    "assemble",
    "cost",
    "export",
    "load_model",
    "pieces",
    "quantised",
    "refuses",
    "states",
    "write",
]
