"""Judge: does stock lava-nc's Dense give in step t what enters in step t, as a matrix in NIR does?

    python lava_dense.py model.nir x.npy

RingBuffer, one Dense for each Affine, RingBuffer: nothing of Spikestrip's processes. Ends in 1 where the right numbers
come late. Lava's documentation says so ("Dense sends, then receives"): whoever maps a graph node by node meets it.
"""

import sys

import numpy as np

import spikestrip as ss
from simulators.backends.lava import compat
from spikestrip.operations import Affine

with compat.importable():  # lava-nc 0.10 itself imports on Python 3.10 alone
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

program, x = ss.load(sys.argv[1]), np.load(sys.argv[2])
right = ss.simulate(program, x).output
chain = [layer.operation for layer in program.layers]
if (
    not all(isinstance(op, Affine) and op.bias is None for op in chain)
    or x.shape[1] < 2
    or len(program.input_shape) > 1
):
    sys.exit(0)  # no chain of Dense, or too short to tell late from wrong
late = False
for sample, expected in zip(x.astype(float), right, strict=True):
    source, sink = Source(data=sample.T.copy()), Sink(shape=expected.shape[1:], buffer=len(sample))
    port = source.s_out
    for op in chain:
        dense = Dense(weights=op.weight.astype(float), num_message_bits=24)
        port.connect(dense.s_in)
        port = dense.a_out
    port.connect(sink.a_in)
    sink.run(condition=RunSteps(num_steps=len(sample)), run_cfg=Loihi2SimCfg(select_tag="floating_pt"))
    seen = sink.data.get().T
    sink.stop()
    print(f"Lava: {seen.tolist()}, right: {expected.tolist()}")
    steps = len(chain)
    late |= expected[:-steps].any() and np.allclose(seen[steps:], expected[:-steps]) and not np.allclose(seen, expected)
if late:
    print(f"late by {len(chain)} steps, one for each Dense")
    sys.exit(1)
