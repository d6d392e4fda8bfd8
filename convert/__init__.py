"""From checkpoint to program to NIR and ONNX, and back from NIR."""
