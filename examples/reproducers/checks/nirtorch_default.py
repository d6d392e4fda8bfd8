"""Judge: does nirtorch, with its own map of nodes, give a graph of Affine nodes the output that NIR says?

    python nirtorch_default.py model.nir x.npy

Ends in 1 where it doesn't.
"""

import itertools
import sys

import nir
import nirtorch
import numpy as np
import torch

import spikestrip as ss
from spikestrip.operations import Affine

torch.manual_seed(0)
x = np.load(sys.argv[2]).astype(np.float32)
program = ss.load(sys.argv[1])
right = ss.simulate(program, x).output
ends = np.array(program.input_shape), np.array(program.shapes[program.output])
nodes = {"input": nir.Input(ends[0]), "output": nir.Output(ends[1])}
for layer in program.layers:
    if not isinstance(layer.operation, Affine) or layer.operation.bias is None or not layer.operation.bias.all():
        sys.exit(0)
    nodes[layer.name] = nir.Affine(layer.operation.weight, layer.operation.bias)
names = ["input", *(layer.name for layer in program.layers), "output"]
graph = nir.NIRGraph(nodes, list(itertools.pairwise(names)))
try:
    module = nirtorch.nir_to_torch(graph, {})
    seen = np.stack([module(torch.from_numpy(x[:, t]))[0].detach().numpy() for t in range(x.shape[1])], axis=1)
except Exception as error:  # a node that its map lacks, or a shape: it said so
    print(f"nirtorch refuses: {error}")
    sys.exit(0)
error = float(np.abs(seen - right).max())
print(f"nirtorch {nirtorch.__version__}: largest error {error:.3g}")
if error > 1e-4:
    print("the output is not what the graph says")
    sys.exit(1)
