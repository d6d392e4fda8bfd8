"""The ONNX Runtime backend: the sequence model that the ONNX writer makes, run in chunks of time."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime

from convert.formats import onnx as writer
from simulators.backends import Dtype, Progress, Recording
from spikestrip.errors import BadInput
from spikestrip.program import Layer, Program

CHUNK_BYTES = 1 << 25
CHUNK_STEPS = 64
"""A chunk ends where either is reached: what is held at once stays small, and progress can be seen."""


class OnnxRuntimeBackend:
    name = "onnxruntime"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        return writer.refuses(program, layer, dtype)

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        session = _session(program, dtype)
        batch, steps = x.shape[:2]
        if steps == 0:
            raise BadInput("input", "has no steps")
        state = {name: np.zeros((batch, *shape), dtype) for name, shape in writer.states(program).items()}
        output = np.empty((batch, steps, *program.shapes[program.output]), dtype)
        spikes = {
            layer.name: np.empty((batch, steps, math.prod(program.shapes[layer.name])), np.uint8)
            for layer in program.spiking
        }
        names = [value.name for value in session.get_outputs()]
        chunk = _chunk_steps(program, batch, np.dtype(dtype).itemsize)
        for start in range(0, steps, chunk):
            part = slice(start, start + chunk)
            inputs = np.ascontiguousarray(x[:, part].swapaxes(0, 1), dtype)
            results = dict(zip(names, session.run(names, {"x": inputs} | state), strict=True))
            state = {name: results[f"{name}.out"] for name in state}
            _check_finite(state)
            output[:, part] = results["y"].swapaxes(0, 1)
            for name, train in spikes.items():
                train[:, part] = results[f"{name}.spikes"].swapaxes(0, 1)
            progress(len(inputs))
        return Recording(output, spikes)


def _session(program: Program, dtype: Dtype) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = b"".join(writer.pieces(writer.export(program, "sequence", dtype)))
    # in float32 it makes product and bias one Gemm, which need not round as ``step`` does
    kept = {"disabled_optimizers": ["MatMulAddFusion"]}
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], **kept)


def _chunk_steps(program: Program, batch: int, itemsize: int) -> int:
    streams = math.prod(program.input_shape) + math.prod(program.shapes[program.output])
    flags = sum(math.prod(program.shapes[layer.name]) for layer in program.spiking)
    return max(1, min(CHUNK_STEPS, CHUNK_BYTES // (batch * (itemsize * streams + flags))))


def _check_finite(state: dict[str, np.ndarray]) -> None:
    """As Stepper does: a neuron would turn NaN into silence."""
    for name, value in state.items():
        if not np.isfinite(value).all():
            layer, variable = name.split(".")
            raise BadInput(layer, f"state {variable!r} is no longer finite: the run overflowed")
