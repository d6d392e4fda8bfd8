"""A program as an ordinary ``nn.Module``: layers of torch and sinabs where they say it, else layers in their manner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import array_api_compat.torch as xp
import numpy as np
import sinabs.layers as sl
import torch
from torch import Tensor, nn

from simulators.backends.sinabs import neurons
from spikestrip.errors import Refused
from spikestrip.operations import (
    LIF,
    UNBOUNDED,
    Affine,
    Conv2d,
    FixedIF,
    Flatten,
    LeakyIntegrator,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    SumPool2d,
)  # fmt: skip
from spikestrip.program import INPUT, Layer, Program


def to_sinabs(program: Program, dtype: Literal["float32", "float64"] = "float32") -> SinabsNetwork:
    """``program`` as a module that takes whole sequences, (B, T, *shape), and returns the output layer's, (B, T, ...).

    Spikes are those of the program wherever no potential lies within rounding of its threshold (torch adds up in its
    own order). Raises Refused, naming the layer, for what is drawn at random: sinabs knows no sample's number.
    """
    for layer in program.layers:
        if layer.operation.drawn_from() is not None:
            raise Refused(layer.name, "draws at random for each sample, whose number a module doesn't know")
    return SinabsNetwork(program, getattr(torch, dtype)).eval()


class SinabsNetwork(nn.Module):
    """The layers of a program under their names in ``layers``; every call starts at rest.

    What feeds back is run step by step, all else layer by layer over the whole sequence.
    """

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({layer.name: _module(layer.operation, dtype) for layer in program.layers})
        self._wiring: tuple[Layer, ...] = program.layers
        self._output, self._delayed = program.output, {name: program.shapes[name] for name in program.delayed_sources}

    def reset_states(self) -> None:
        """Put every layer at rest. sinabs' own would keep a state of another batch size, and draw from it at random."""
        for module in self.modules():
            if isinstance(module, sl.StatefulLayer):
                module._buffers.update({name: torch.zeros(0) for name in module._buffers})

    def forward(self, x: Tensor) -> Tensor:
        self.reset_states()
        previous = {name: x.new_zeros(len(x), 1, *shape) for name, shape in self._delayed.items()}
        outputs = []
        for chunk in x.split(1 if self._delayed else x.shape[1], dim=1):
            streams = {INPUT: chunk}
            for layer in self._wiring:
                entering = [*(streams[name] for name in layer.inputs), *(previous[name] for name in layer.delayed)]
                streams[layer.name] = self.layers[layer.name](sum(entering[1:], start=entering[0])).to(x.dtype)
            previous = {name: streams[name] for name in previous}
            outputs.append(streams[self._output])
        return torch.cat(outputs, dim=1)


class OperationLayer(sl.StatefulLayer):
    """An operation that sinabs has no layer for, (B, T, *shape) -> (B, T, ...), its state kept as sinabs keeps one."""

    def __init__(self, operation: Operation, dtype: torch.dtype) -> None:
        super().__init__(state_names=[])
        self.operation, self.dtype = operation, dtype
        held = operation.bind(lambda array: torch.as_tensor(array).to(dtype))
        self._bound = (held,)  # in a tuple: torch would not register it, and it is derived from the operation

    def forward(self, input_data: Tensor) -> Tensor:
        (operation,) = self._bound
        shapes = operation.state_shapes(tuple(input_data.shape[2:]))
        for name, shape in shapes.items():
            if self._buffers.get(name) is None or self._buffers[name].shape == (0,):
                self.register_buffer(name, input_data.new_zeros(len(input_data), *shape))
        state, output = operation.over(xp, {name: self._buffers[name] for name in shapes}, input_data.transpose(0, 1))
        self._buffers.update(state)
        return output.transpose(0, 1)

    @property
    def _param_dict(self) -> dict[str, Any]:
        return {"operation": self.operation, "dtype": self.dtype}


class _EachStep(nn.Sequential):
    """Layers of torch over (B, T, *shape): their batch is every step of every sample."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input.flatten(0, 1))
        return output.unflatten(0, input.shape[:2])


def _module(operation: Operation, dtype: torch.dtype) -> nn.Module:
    bound: Any = operation.bind(lambda array: torch.as_tensor(array).to(dtype))
    if isinstance(operation, LIF) and operation.bias is None and _resets_to_zero(operation):
        return _gained(bound, neurons.lif(bound))
    if isinstance(operation, LeakyIntegrator) and operation.bias is None:
        return _gained(bound, neurons.leaky_integrator(bound))
    if isinstance(operation, MultiSpikeIF) and np.unique(operation.floor <= UNBOUNDED).size == 1:
        several = neurons.several(bound)
        return _gained(bound, several) if isinstance(operation, MultiSpikeLIF) else several
    if isinstance(operation, FixedIF):
        return neurons.whole(operation)
    layers = list(_torch_layers(operation, bound))
    return _EachStep(*layers) if layers else OperationLayer(operation, dtype)


def _resets_to_zero(operation: LIF) -> bool:
    return operation.reset_kind == "soft" or operation.v_reset is None or not operation.v_reset.any()


def _gained(neuron: Any, layer: nn.Module) -> nn.Module:
    return layer if neuron.gain is None else nn.Sequential(_Gain(neuron.gain), layer)


class _Gain(nn.Module):
    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x


def _torch_layers(operation: Operation, bound: Any) -> Iterator[nn.Module]:
    """The layers of torch, or of sinabs, that say a stateless operation; none where no layer does."""
    if isinstance(operation, Affine) and operation.weight.ndim == 2:
        outputs, inputs = operation.weight.shape
        yield _weighted(nn.Linear(inputs, outputs, bias=operation.bias is not None), bound)
    elif isinstance(operation, Conv2d):
        pads = (operation.pad_left, operation.pad_right, operation.pad_top, operation.pad_bottom)
        if any(pads):
            yield nn.ZeroPad2d(pads)
        outputs, inputs, *kernel = operation.weight.shape
        convolution = nn.Conv2d(
            inputs * operation.groups,
            outputs,
            tuple(kernel),
            (operation.stride_y, operation.stride_x),
            dilation=(operation.dilation_y, operation.dilation_x),
            groups=operation.groups,
            bias=operation.bias is not None,
        )
        yield _weighted(convolution, bound)
    elif type(operation) is SumPool2d and not any(
        (operation.pad_top, operation.pad_bottom, operation.pad_left, operation.pad_right)
    ):
        yield sl.SumPool2d((operation.kernel_y, operation.kernel_x), (operation.stride_y, operation.stride_x))
    elif isinstance(operation, Flatten):
        start, end = (axis + 1 if axis >= 0 else axis for axis in (operation.start_dim, operation.end_dim))
        yield nn.Flatten(start, end)


def _weighted(layer: Any, bound: Any) -> nn.Module:
    layer.weight = nn.Parameter(bound.weight)
    if bound.bias is not None:
        layer.bias = nn.Parameter(bound.bias)
    return layer
