"""Runs a program layer by layer, each over a piece of the raster; what feeds back is stepped as the oracle steps it."""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_limits

from simulators.backends import Dtype, Progress, Recording
from simulators.backends.raster.layers import over
from spikestrip import execution
from spikestrip.errors import BadInput
from spikestrip.operations import State
from spikestrip.program import INPUT, Layer, Program

PIECE = 1 << 20  # bytes of the widest stream in one piece of the raster: larger ones leave the cache


class RasterBackend:
    """The oracle's spikes and outputs, to the bit, where every operation has an order of its own (docs/raster.md)."""

    name = "raster"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        return None

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        if program.delayed_sources:
            output, spikes, numbers = execution.run(
                program, x, np, lambda array: array.astype(dtype), np.asarray, progress
            )
            return Recording(
                output, spikes, attrs={"stepped": f"{', '.join(program.delayed_sources)} feeds back"}, numbers=numbers
            )
        batch, steps = x.shape[:2]
        bound = [(layer, layer.operation.bind(lambda array: array.astype(dtype))) for layer in program.layers]
        states: dict[str, State] = {
            layer.name: {name: np.zeros((batch, *shape), dtype) for name, shape in program.state_shapes(layer).items()}
            for layer in program.layers
        }
        spikes = {
            layer.name: np.empty((batch, steps, math.prod(program.shapes[layer.name])), np.uint8)
            for layer in program.spiking
        }
        numbers = {
            layer.name: np.empty((batch, steps, math.prod(program.shapes[layer.name])), np.int32)
            for layer in program.counting
        }
        recorded = spikes | numbers
        output = np.empty((batch, steps, *program.shapes[program.output]), dtype)
        last = {source: layer.name for layer in program.layers for source in layer.inputs}
        widest = max(math.prod(shape) for shape in program.shapes.values())
        piece = max(1, PIECE // (batch * widest * np.dtype(dtype).itemsize))
        with threadpool_limits(1):  # one step's product is small: a second thread costs more than it gives
            for start in range(0, steps, piece):
                here = slice(start, min(start + piece, steps))
                streams = {INPUT: np.ascontiguousarray(x[:, here].swapaxes(0, 1), dtype)}
                for layer, operation in bound:
                    entering = streams[layer.inputs[0]]
                    for source in layer.inputs[1:]:
                        entering = entering + streams[source]
                    states[layer.name], streams[layer.name] = over(operation, states[layer.name], entering)
                    if layer.name in recorded:
                        recorded[layer.name][:, here] = _samples_first(streams[layer.name]).reshape(
                            batch, here.stop - start, -1
                        )
                    if layer.name == program.output:
                        output[:, here] = _samples_first(streams[layer.name])
                    for source in {*layer.inputs}:
                        if last[source] == layer.name:
                            del streams[source]
                progress(here.stop - start)
        for name, state in states.items():
            for variable, value in state.items():
                if not np.isfinite(value).all():
                    raise BadInput(name, f"state {variable!r} is no longer finite: the run overflowed")
        return Recording(output, spikes, numbers=numbers)


def _samples_first(stream: np.ndarray) -> np.ndarray:
    return stream.swapaxes(0, 1)
