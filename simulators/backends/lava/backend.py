"""The Lava backend: each layer of the program is one Lava process, which calls the operation's own ``step``."""

from __future__ import annotations

import math
import sys
from importlib.metadata import version
from typing import Literal

import numpy as np

from simulators.backends import Dtype, Progress, Recording
from simulators.backends.lava import stock, stock_float, stock_run, supervisor
from simulators.backends.lava.shared import Layout, SharedArrays
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import COUNTERS
from spikestrip.program import INPUT, Layer, Program

COPIES = 8
"""Samples that run at once as copies of a network of stock processes."""


class LavaBackend:
    """Runs programs on lava-nc, one process a layer, messages (B, *shape) between them, no step of delay.

    A program of integers that stock processes hold (stock.py) runs as these alone, and its delay is shifted back;
    ``processes`` "stock": whatever can't run so is refused, a program of floats too.

    Spikes and output are those of the numpy backend. ``observed`` holds the counters of the ledger, counted by each
    process from the messages that it received and sent; in float32 without ``effective_macs``, since the ledger
    replays in float64, where a graded value that underflowed is not zero.
    patience: seconds without a finished step after which a run is given up.
    """

    name = "lava"
    devices = ("cpu",)

    def __init__(self, patience: float = 60.0, processes: Literal["stock"] | None = None) -> None:
        self.patience = patience
        self.processes = processes
        self._version = version("lava-nc")  # an ImportError where it isn't installed; only the worker imports it

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        if not sys.platform.startswith("linux"):
            return "Lava is supervised by means that Linux alone has (parent-death signals, memfd)"
        if self.processes == "stock" and not stock.integers(program):
            reason = stock_float.refuses(layer)
            return "is float64 in stock Lava's floating point" if reason is None and dtype != "float64" else reason
        return None

    def refuses_program(self, program: Program, dtype: Dtype) -> str | None:
        if self.processes is None:
            return None
        if stock.integers(program):
            return stock.refuses(program)
        try:
            stock_float.entries(program)
        except Refused as refused:
            return f"{refused.where} {refused.reason}"
        return None

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        if not x.size:
            raise BadInput("input", "a run has at least one sample and one step")
        if self.processes == "stock" or stock.refuses(program) is None:
            parts = [self._stock(program, x[i : i + COPIES], progress, len(x)) for i in range(0, len(x), COPIES)]
            return _joined(parts, self._version)
        arrays = self._run(program, x, dtype, _layout(program, x, dtype), progress)
        comparable = [counter for counter in COUNTERS if dtype == "float64" or counter != "effective_macs"]
        return Recording(
            arrays["output"],
            {layer.name: arrays[f"spikes/{layer.name}"] for layer in program.spiking},
            {
                layer.name: {counter: arrays[f"events/{layer.name}"][COUNTERS.index(counter)] for counter in comparable}
                for layer in program.layers
            },
            {"delay": 0, "lava": self._version, "lava_processes": len(program.layers) + 1},
            states=_states(program, arrays),
        )

    def _run(self, program: Program, x: np.ndarray, dtype: Dtype, layout: Layout, progress: Progress) -> SharedArrays:
        arrays = SharedArrays(layout)
        try:
            arrays["input"][...] = x
            supervisor.run(program, dtype, arrays, progress, self.patience)
        finally:
            arrays.close()
        return arrays

    def _stock(self, program: Program, x: np.ndarray, progress: Progress, whole: int) -> Recording:
        """Samples as copies of the network side by side; ``progress`` counts steps of the ``whole`` batch."""
        behind = 0

        def shared(steps: int) -> None:
            nonlocal behind
            behind += steps * len(x)
            progress(behind // whole)
            behind %= whole

        arrays = self._run(program, x, "float64", stock_run.layout(program, x), shared)
        spikes = {layer.name: arrays[f"spikes/{layer.name}"] for layer in program.spiking}
        attrs: dict[str, str | int | float | bool] = {
            "delay": int(arrays["delay"]),
            "processes": "stock",
            "lava_processes": int(arrays["processes"]),
        }
        return Recording(arrays["output"], spikes, attrs=attrs, states=_states(program, arrays))


def _states(program: Program, arrays: SharedArrays) -> dict[str, dict[str, np.ndarray]]:
    """Layer -> name -> the last state of all samples, where there is one that was read."""
    states: dict[str, dict[str, np.ndarray]] = {}
    for layer in program.layers:
        for state in program.state_shapes(layer):
            if f"state/{layer.name}/{state}" in arrays.layout:
                states.setdefault(layer.name, {})[state] = arrays[f"state/{layer.name}/{state}"]
    return states


def _joined(parts: list[Recording], version: str) -> Recording:
    """The recordings of parts of a batch as one."""
    first = parts[0]
    return Recording(
        np.concatenate([part.output for part in parts]),
        {name: np.concatenate([part.spikes[name] for part in parts]) for name in first.spikes},
        attrs={"lava": version, **first.attrs},
        states={
            layer: {name: np.concatenate([part.states[layer][name] for part in parts]) for name in held}
            for layer, held in first.states.items()
        },
    )


def _layout(program: Program, x: np.ndarray, dtype: Dtype) -> Layout:
    """What a run shares: input, recordings, and for each layer the process that holds it and the steps it has done."""
    batch, steps = x.shape[:2]
    layout: Layout = {
        "input": (x.shape, dtype),
        "output": ((batch, steps, *program.shapes[program.output]), dtype),
        f"pid/{INPUT}": ((), "int64"),
    }
    for layer in program.layers:
        layout[f"pid/{layer.name}"] = ((), "int64")
        layout[f"done/{layer.name}"] = ((), "int64")
        layout[f"events/{layer.name}"] = ((len(COUNTERS), batch, steps), "int64")
        for state, shape in program.state_shapes(layer).items():
            layout[f"state/{layer.name}/{state}"] = ((batch, *shape), dtype)
        if layer.operation.spiking:
            layout[f"spikes/{layer.name}"] = ((batch, steps, math.prod(program.shapes[layer.name])), "uint8")
    return layout
