"""The sinabs backend: sinabs's own LIF, IAF and ExpLeak layers hold the neurons; all else runs on torch.

sinabs has no layer for an SSM, GLU, LayerNorm or a bare threshold, no synapse beyond torch's own, and no bias in an
integrator: those run as the operation's own torch step, and ``sinabs_layers`` in the trace names what sinabs held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import array_api_compat.torch as xp
import numpy as np
import torch

from simulators.backends import Dtype, Progress, Recording
from simulators.backends.sinabs.neurons import leaky_integrator, lif
from spikestrip import execution
from spikestrip.operations import LIF, LeakyIntegrator, Operation, RefractoryLIF, Shape, State, Threshold
from spikestrip.program import Layer, Program


class SinabsBackend:
    name = "sinabs"
    devices = ("cpu",)

    def refuses(self, program: Program, layer: Layer, dtype: Dtype) -> str | None:
        operation = layer.operation
        if isinstance(operation, RefractoryLIF):
            return "sinabs has no refractory neuron"
        if isinstance(operation, LIF):
            if operation.bias is not None:
                return "a sinabs LIF has no bias; added to the input beforehand it would round differently"
            if operation.v_reset is not None and operation.v_reset.any():
                return "v_reset isn't 0, and sinabs's MembraneReset adds its value to silent neurons too"
        elif operation.spiking and not isinstance(operation, Threshold):  # which has no state to hold
            return f"sinabs has no {operation.kind} neuron"
        return None

    def run(self, program: Program, x: np.ndarray, dtype: Dtype, device: str, progress: Progress) -> Recording:
        kind = getattr(torch, dtype)

        def convert(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array).to(kind)

        held = {
            layer.name: _Held(layer.operation)
            for layer in program.layers
            if isinstance(layer.operation, LIF)
            or (isinstance(layer.operation, LeakyIntegrator) and layer.operation.bias is None)
        }
        layers = tuple(
            dataclasses.replace(layer, operation=held.get(layer.name, layer.operation)) for layer in program.layers
        )
        with torch.inference_mode():
            output, spikes, numbers = execution.run(
                dataclasses.replace(program, layers=layers), x, xp, convert, lambda tensor: tensor.numpy(), progress
            )
        return Recording(
            output,
            spikes,
            observed={name: {"spikes": np.stack(held[name].counted, axis=1)} for name in spikes if name in held},
            attrs={"sinabs": version("sinabs"), "sinabs_layers": ",".join(held)},
            numbers=numbers,
        )


@dataclasses.dataclass(eq=False)
class _Held(Operation):
    """A neuron held by a sinabs layer, which keeps the state and is asked for one step at a time.

    A fresh layer for each run: with another batch size sinabs would draw its state at random from the old one.
    ``counted`` holds, step by step, the spikes of every sample, (B,) int64, counted by a forward hook of the layer.
    """

    kind: ClassVar[str] = "held by sinabs"
    neuron: Any  # LIF or LeakyIntegrator; once bound its arrays are tensors
    counted: list[np.ndarray] = dataclasses.field(default_factory=list)
    layer: Any = None

    @property
    def spiking(self) -> bool:  # type: ignore[override]
        return self.neuron.spiking

    def output_shape(self, shape: Shape) -> Shape:
        return self.neuron.output_shape(shape)

    def bind(self, convert: Callable[[np.ndarray], torch.Tensor]) -> _Held:
        neuron = self.neuron.bind(convert)
        layer = leaky_integrator(neuron) if isinstance(neuron, LeakyIntegrator) else lif(neuron)
        layer.register_forward_hook(self._count)
        return dataclasses.replace(self, neuron=neuron, layer=layer)

    def step(self, xp: ModuleType, state: State, x: torch.Tensor) -> tuple[State, torch.Tensor]:
        current = x if self.neuron.gain is None else self.neuron.gain * x
        output = self.layer(current[:, None])[:, 0].to(x.dtype)
        return {"u": self.layer.v_mem}, output

    def _count(self, layer: torch.nn.Module, entering: object, output: torch.Tensor) -> None:
        if self.neuron.spiking:
            self.counted.append(torch.count_nonzero(output.flatten(1), dim=1).numpy())
