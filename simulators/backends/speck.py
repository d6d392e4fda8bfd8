"""The speck backend: the synchronous model of a Speck's integers, by sinabs' own layers.

It takes what ``quantize --chip speck2f`` writes and nothing else, and input that is events. Whole numbers below 2^53
ride in float64. No chip is behind it, and it isn't the chip: that handles each event when it comes (docs/speck.md).
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import sinabs.layers as sl
import torch

from simulators.backends import Dtype, Progress, Recording
from simulators.backends.sinabs import to_sinabs
from spikestrip.errors import BadInput
from spikestrip.operations import Affine, Conv2d, FixedIF, Flatten, Join, MultiSpikeIF, Operation, SumPool2d
from spikestrip.operations.fixed import HIGHEST, LOWEST
from spikestrip.program import INPUT, Layer, Program

MOST = 1 << 24
"""Spikes of a step that sinabs' MultiSpike can't count: it does in float32."""
WEIGHTS, NEURONS = (Conv2d, Affine), (FixedIF, MultiSpikeIF)
WRITES = "quantize --chip speck2f writes such"


class SpeckBackend:
    name = "speck"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        if dtype != "float64":
            return f"its integers ride in float64, not in {dtype}"
        if layer.delayed:
            return "reads the previous step of another layer"
        return _against_operation(layer.operation) or _against_place(program, layer)

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        _check_counts("input", x)
        network = to_sinabs(program, "float64")
        neurons = {name: module for name, module in network.layers.items() if isinstance(module, sl.IAF)}
        sent: dict[str, np.ndarray] = {}

        def record(name: str) -> None:
            def hook(module: torch.nn.Module, entering: object, output: torch.Tensor) -> None:
                counts = output.flatten(2).numpy()
                _check_counts(name, counts)
                if program[name].operation.spiking:
                    sent[name] = counts.astype(np.uint8)

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
        )


def _against_operation(operation: Operation) -> str | None:
    if isinstance(operation, Conv2d | Affine):
        weight = operation.weight
        if (weight != np.rint(weight)).any() or weight.min(initial=0) < -128 or weight.max(initial=0) > 127:
            return f"has weights that aren't integers of 8 bits; {WRITES}"
        return None if operation.bias is None else "has a bias, which a core adds by a clock of its own"
    if isinstance(operation, MultiSpikeIF):
        bounds = np.stack([operation.threshold, operation.floor])
        whole = (bounds == np.rint(bounds)).all() and bounds.min() >= LOWEST and bounds.max() <= HIGHEST
        return None if whole else f"has thresholds that aren't integers of 16 bits; {WRITES}"
    if type(operation) is SumPool2d:
        window = operation.kernel_y * operation.kernel_x
        # LPPool2d takes the mean and multiplies it again
        return f"sinabs' sum over {window} values rounds: {window} is no power of 2" if window & (window - 1) else None
    if type(operation) in (FixedIF, Flatten, Join):
        return None
    return f"is none of a core's integer operations; {WRITES}"


def _against_place(program: Program, layer: Layer) -> str | None:
    sums = [name != INPUT and isinstance(program[name].operation, WEIGHTS) for name in layer.inputs]
    if isinstance(layer.operation, NEURONS):
        return None if sums == [True] else "one convolution or matrix must stand right before these neurons"
    if any(sums) or (layer.name == program.output and isinstance(layer.operation, WEIGHTS)):
        return "sums go elsewhere than into neurons, and cores send spikes alone"
    if not any(isinstance(other.operation, NEURONS) for other in program.layers):
        return "the program has no neurons"
    return None


def _check_counts(name: str, values: np.ndarray) -> None:
    if (values < 0).any() or (values != np.floor(values)).any():
        raise BadInput(name, "holds values that aren't numbers of events, which is all that a Speck takes")
    if (values >= MOST).any():
        raise BadInput(name, f"holds {MOST:,} events in one step or more, which sinabs doesn't count exactly")
