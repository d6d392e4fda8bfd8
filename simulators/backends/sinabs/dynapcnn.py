"""A Speck's configuration through ``sinabs.backend.dynapcnn``, which needs SynSense's own samna.

What PyPI has under that name is a stub whose import runs pip: it is told apart without being imported, by its files.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import PurePosixPath

import sinabs.layers as sl
import torch
from sinabs.activation import MembraneReset, MembraneSubtract
from torch import nn

from convert.lowering.speck_integers import reason_against
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Affine, Conv2d, FixedIF, Flatten, MultiSpikeIF, Operation, SumPool2d
from spikestrip.operations.fixed import LOWEST
from spikestrip.program import INPUT, Program

COMPILED = (".so", ".pyd", ".dylib")


def missing() -> str | None:
    """Why no configuration can be written here, or None: samna, found by its metadata alone."""
    try:
        files = distribution("samna").files or []
    except PackageNotFoundError:
        return "samna isn't installed; SynSense's own package writes it, and what PyPI has under the name is a stub"
    if not any(PurePosixPath(str(file)).suffix in COMPILED for file in files):
        return "the samna that is installed is PyPI's stub: it holds no compiled part; SynSense's own package writes it"
    return None


def configuration(program: Program, cores: dict[str, int], device: str) -> str:
    """The JSON of samna's configuration for ``program``, integers as ``quantize`` writes them.

    cores: layer of neurons -> its core, as ``fit`` assigned them. device: a name of sinabs', such as speck2fdevkit.
    Raises Refused for a network that isn't a chain, BadInput without samna, or where sinabs finds it not valid.
    """
    made = chain(program)
    reason = missing()
    if reason is not None:
        raise BadInput("samna", reason)
    from sinabs.backend.dynapcnn import DynapcnnNetwork

    network = DynapcnnNetwork(made, input_shape=maps(program), batch_size=1, discretize=False)
    neurons = [layer.name for layer in program.layers if isinstance(layer.operation, FixedIF | MultiSpikeIF)]
    placed = {index: cores[name] for index, name in zip(sorted(network.dynapcnn_layers), neurons, strict=True)}
    try:
        config = network.make_config(layer2core_map=placed, device=device)
    except ValueError as error:
        raise BadInput("samna", str(error)) from error
    return str(config.to_json())


def chain(program: Program) -> nn.Sequential:
    """``program`` as modules that DynapcnnNetwork reads. Raises Refused where one doesn't follow the other."""
    previous = INPUT
    modules: list[nn.Module] = []
    for layer in program.layers:
        reason = reason_against(program, layer)
        if reason is None and layer.inputs != (previous,):
            reason = f"doesn't follow {previous}: only a chain of layers is written"
        if reason is not None:
            raise Refused(layer.name, reason)
        modules.append(_module(layer.operation, program.entering_shape(layer)))
        previous = layer.name
    return nn.Sequential(*modules)


def maps(program: Program) -> tuple[int, int, int]:
    """The input step as (channels, height, width): numbers are channels of one place."""
    shape = (*program.input_shape, 1, 1)
    return shape[0], shape[1], shape[2]


def _module(operation: Operation, shape: tuple[int, ...]) -> nn.Module:
    if isinstance(operation, Conv2d):
        pad, stride = (operation.pad_top, operation.pad_left), (operation.stride_y, operation.stride_x)
        outputs, inputs, *kernel = operation.weight.shape
        module: nn.Module = nn.Conv2d(inputs, outputs, tuple(kernel), stride, pad, bias=False)
        module.weight = nn.Parameter(torch.as_tensor(operation.weight))
        return module
    if isinstance(operation, Affine):
        outputs, inputs = operation.weight.shape
        weight = torch.as_tensor(operation.weight)
        module = nn.Linear(inputs, outputs, bias=False)
        module.weight = nn.Parameter(weight)
        return module
    if isinstance(operation, SumPool2d):
        return sl.SumPool2d(operation.kernel_y)
    if isinstance(operation, Flatten):
        return nn.Flatten()
    soft, threshold, floor = True, 0.0, float(LOWEST)
    if isinstance(operation, FixedIF):
        soft, threshold = operation.soft, float(operation.threshold)
    elif isinstance(operation, MultiSpikeIF):
        threshold, floor = float(operation.threshold.flat[0]), float(operation.floor.flat[0])
    reset = MembraneSubtract() if soft else MembraneReset()
    return sl.IAFSqueeze(batch_size=1, spike_threshold=threshold, min_v_mem=floor, reset_fn=reset)
