"""Runs a program layer by layer, each over a piece of the raster; what feeds back is stepped as the oracle steps it."""

from __future__ import annotations

import math

import numpy as np

from simulators.backends import Dtype, Progress, Recording
from simulators.backends.raster.layers import Running, running
from spikestrip import execution, ledger
from spikestrip.errors import BadInput
from spikestrip.operations import FixedOperation
from spikestrip.program import INPUT, Layer, Program


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
        piece = execution.piece(batch, widest, np.dtype(dtype).itemsize)
        counting = dtype == "float64" and not any(
            isinstance(layer.operation, FixedOperation) for layer in program.layers
        )
        events = ledger.empty(program, batch, steps) if counting else {}
        with execution.one_thread():
            layers = [(layer, _started(program, layer, batch, dtype)) for layer in program.layers]
            for start in range(0, steps, piece):
                here = slice(start, min(start + piece, steps))
                streams = {INPUT: np.ascontiguousarray(x[:, here].swapaxes(0, 1), dtype)}
                for layer, over in layers:
                    entering = streams[layer.inputs[0]]
                    for source in layer.inputs[1:]:
                        entering = entering + streams[source]
                    streams[layer.name] = over(entering)
                    if counting:
                        ledger.count_piece(program, layer, entering, streams[layer.name], events, here)
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
        for layer, over in layers:
            for variable, value in over.state.items():
                if not np.isfinite(value).all():
                    raise BadInput(layer.name, f"state {variable!r} is no longer finite: the run overflowed")
        return Recording(output, spikes, numbers=numbers, events=events)


def _started(program: Program, layer: Layer, batch: int, dtype: Dtype) -> Running:
    state = {name: np.zeros((batch, *shape), dtype) for name, shape in program.state_shapes(layer).items()}
    operation = layer.operation.bind(lambda array: array.astype(dtype))
    return running(operation, state, batch, program.is_binary(layer))


def _samples_first(stream: np.ndarray) -> np.ndarray:
    return stream.swapaxes(0, 1)
