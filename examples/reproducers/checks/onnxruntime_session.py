"""Judge: does ONNX Runtime, as it comes, compute a chain of matrix products and scales in float64 as numpy does?

    python onnxruntime_session.py model.nir x.npy

The graph is what anyone would write: MatMul and Mul, nothing of Spikestrip's writer. Ends in 1 where they differ.
"""

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import spikestrip as ss
from spikestrip.operations import Affine, Scale

program, x = ss.load(sys.argv[1]), np.load(sys.argv[2]).astype(np.float64)
nodes, constants, value, stream = [], [], "input", x
for layer in program.layers:
    operation = layer.operation
    if layer.inputs != (value,) or not isinstance(operation, Affine | Scale):
        sys.exit(0)  # no chain of products: nothing to say
    factor = operation.weight.T if isinstance(operation, Affine) else operation.scale
    factor = factor.astype(np.float64)
    constants.append(numpy_helper.from_array(factor, f"{layer.name}_factor"))
    kind = "MatMul" if isinstance(operation, Affine) else "Mul"
    nodes.append(helper.make_node(kind, [value, f"{layer.name}_factor"], [layer.name]))
    stream = stream @ factor if kind == "MatMul" else stream * factor
    if isinstance(operation, Affine) and operation.bias is not None:
        constants.append(numpy_helper.from_array(operation.bias.astype(np.float64), f"{layer.name}_bias"))
        nodes.append(helper.make_node("Add", [layer.name, f"{layer.name}_bias"], [f"{layer.name}_sum"]))
        stream = stream + operation.bias
    value = nodes[-1].output[0]
    if value != layer.name and layer.name != program.output:
        sys.exit(0)
graph = helper.make_graph(
    nodes,
    "chain",
    [helper.make_tensor_value_info("input", TensorProto.DOUBLE, x.shape)],
    [helper.make_tensor_value_info(value, TensorProto.DOUBLE, stream.shape)],
    constants,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
(seen,) = session.run(None, {"input": x})
error = float(np.abs(seen - stream).max() / np.abs(stream).max())
print(f"ONNX Runtime {onnxruntime.__version__}: relative error {error:.2g} in float64")
if error > 1e-12:
    print("not float64: a factor was rounded to float32")
    sys.exit(1)
