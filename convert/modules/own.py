"""The modules of ss.nn (train.nn) as layers of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from convert.modules.arrays import array
from convert.modules.diagonal import turning
from convert.modules.program_builder import ProgramBuilder
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Affine, Join, Scale

if TYPE_CHECKING:  # it is there where a module of it is, and asks for more than torch
    from train.nn import LRU

HOME = "train.nn."
KINDS = ("LIF", "LRU", "S4D", "SpikingSSM")


def is_own(module: nn.Module) -> bool:
    """True for an instance of one of KINDS, of no subclass."""
    return type(module).__module__.startswith(HOME) and type(module).__name__ in KINDS


def by_step(module: nn.Module, output: Any) -> Any:
    """What a hook on ``module`` sees, (B, L, H): the neuron inside a block gives (B, H, L)."""
    inner = type(module).__module__ == "train.networks" and isinstance(output, Tensor)
    return output.mT if inner else output


def add(builder: ProgramBuilder, path: str, module: Any, entering: str) -> tuple[str, dict[str, str]]:
    """Append the layers of the module at ``path``; returns its output, and by path the spikes of the neurons in it.

    Raises Refused(path, reason).
    """
    from convert.strip_block import add_block, neuron, s4d

    for name, value in module.state_dict().items():
        array(path, name, value)  # or refused: not finite
    kind = type(module).__name__
    try:
        if kind == "S4D":
            return builder.add(path, s4d(module), entering), {}
        if kind == "LRU":
            return _lru(builder, path, module, entering), {}
        if kind == "LIF":
            spikes = builder.add(path, neuron(module), entering)
            return spikes, {path: spikes}
        if module.training and (module.block.config.norm == "batch" or module.block.config.dropout):
            raise Refused(path, "is in training mode, where it normalises by the batch or drops values; call eval()")
        output, spikes = add_block(builder, path, module.block, entering)
    except Refused:
        raise
    except BadInput as error:
        raise Refused(path, str(error)) from error
    return output, {f"{path}.block.neuron": spikes}


def _lru(builder: ProgramBuilder, path: str, module: LRU, entering: str) -> str:
    """Its modes as the 4N channels of ``turning``, whose real and imaginary parts Re(c h) adds up."""
    a, b, c, d = (value.detach().cpu().numpy() for value in module.matrices())
    stream = builder.add(f"{path}_in", Affine(np.concatenate((b.real, b.real, b.imag, b.imag))), entering)
    stream = builder.add(f"{path}_modes", turning(a), stream)
    stream = builder.add(f"{path}_out", Affine(np.concatenate((c.real, -c.imag, -c.imag, -c.real), axis=1)), stream)
    skip = builder.add(f"{path}_skip", Scale(d), entering)
    return builder.add(path, Join(), stream, skip)
