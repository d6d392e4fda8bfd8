"""Judge: does sinabs' own import compute a chain of Affine and Scale nodes as NIR says?

    python sinabs_from_nir.py model.nir x.npy

Ends in 1 where the answer is what enters a Scale node: it, and all behind it, was dropped without an error.
"""

import itertools
import sys

import nir
import numpy as np
import sinabs
import sinabs.nir
import torch

import spikestrip as ss
from spikestrip.operations import Affine, Scale

x = np.load(sys.argv[2]).astype(np.float32)
program = ss.load(sys.argv[1])
right, stream, entering = ss.simulate(program, x).output, x.astype(float), {}
ends = np.array(program.input_shape), np.array(program.shapes[program.output])
nodes = {"input": nir.Input(ends[0]), "output": nir.Output(ends[1])}
for layer in program.layers:
    op = layer.operation
    if isinstance(op, Affine):
        bias = np.zeros(len(op.weight)) if op.bias is None else op.bias
        nodes[layer.name] = nir.Affine(op.weight, bias)
        stream = stream @ op.weight.T.astype(float) + bias
    elif isinstance(op, Scale):
        nodes[layer.name] = nir.Scale(op.scale)
        entering[layer.name] = stream
        stream = stream * op.scale.astype(float)
    else:
        sys.exit(0)
names = ["input", *(layer.name for layer in program.layers), "output"]
graph = nir.NIRGraph(nodes, list(itertools.pairwise(names)))
try:
    network = sinabs.nir.from_nir(graph, batch_size=len(x))
    with torch.no_grad():
        seen = network(torch.from_numpy(x).flatten(0, 1))[0].numpy().reshape(*x.shape[:2], -1)
except Exception as error:  # it refused
    print(f"sinabs refuses: {error}")
    sys.exit(0)
print(f"sinabs {sinabs.__version__}: {seen.ravel()[:4]}, right: {right.ravel()[:4]}")
for name, values in entering.items():
    dropped = seen.shape == values.shape and np.allclose(seen, values, rtol=1e-4)
    if dropped and not (seen.shape == right.shape and np.allclose(seen, right, rtol=1e-2)):
        print(f"{name} was dropped: the output is what enters it")
        sys.exit(1)
