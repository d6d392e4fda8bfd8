"""From a checkpoint, or a torch module of yours, to program to NIR and ONNX, and back."""

from convert.modules.module import from_torch

__all__ = ["from_torch"]
