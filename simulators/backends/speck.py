"""The speck backend: the synchronous model of a Speck's integers, by sinabs' own layers.

It takes what ``quantize --chip speck2f`` writes and nothing else, and input that is events. Whole numbers below 2^53
ride in float64. No chip is behind it, and it isn't the chip: that handles each event when it comes (docs/speck.md).
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import sinabs.layers as sl
import torch

from convert.lowering.speck_integers import reason_against
from simulators.backends import Dtype, Progress, Recording
from simulators.backends.sinabs import to_sinabs
from spikestrip.errors import BadInput
from spikestrip.program import Layer, Program

MOST = 1 << 24
"""Spikes of a step that sinabs' MultiSpike can't count: it does in float32."""


class SpeckBackend:
    name = "speck"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        if dtype != "float64":
            return f"its integers ride in float64, not in {dtype}"
        return reason_against(program, layer)

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        _check_counts("input", x)
        network = to_sinabs(program, "float64")
        neurons = {name: module for name, module in network.layers.items() if isinstance(module, sl.IAF)}
        sent: dict[str, np.ndarray] = {}
        numbers: dict[str, np.ndarray] = {}

        def record(name: str) -> None:
            def hook(module: torch.nn.Module, entering: object, output: torch.Tensor) -> None:
                counts = output.flatten(2).numpy()
                _check_counts(name, counts)
                if program[name].operation.spiking:
                    sent[name] = counts.astype(np.uint8)
                else:
                    numbers[name] = counts.astype(np.int32)

            network.layers[name].register_forward_hook(hook)

        for name in neurons:
            record(name)
        with torch.inference_mode():
            output = network(torch.as_tensor(x).to(torch.float64)).numpy()
        progress(x.shape[1])
        return Recording(
            output,
            sent,
            observed={name: {"spikes": train.sum(axis=2, dtype=np.int64)} for name, train in sent.items()},
            attrs={"sinabs": version("sinabs"), "sinabs_layers": ",".join(neurons)},
            states={name: {"u": module.v_mem.numpy()} for name, module in neurons.items()},
            numbers=numbers,
        )


def _check_counts(name: str, values: np.ndarray) -> None:
    if (values < 0).any() or (values != np.floor(values)).any():
        raise BadInput(name, "holds values that aren't numbers of events, which is all that a Speck takes")
    if (values >= MOST).any():
        raise BadInput(name, f"holds {MOST:,} events in one step or more, which sinabs doesn't count exactly")
