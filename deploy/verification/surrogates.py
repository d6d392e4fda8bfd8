"""A side computed by a surrogate, or by PMBC stopped after M iterations, held to what that form itself decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.verification.contradictions import Judged
    from deploy.verification.side import Side
    from train.building import AnyNetwork

ROWS = 16  # samples computed together


def check(network: AnyNetwork, program: Program, sides: Iterable[Side]) -> None:
    """Raise BadInput unless ``network`` strips to ``program``, and its surrogate is the one that a side states."""
    from convert.strip import strip
    from train.neurons import sdn

    stripped = strip(network).sha256
    if stripped != program.sha256:
        raise BadInput("--checkpoint", f"strips to another program ({stripped[:12]}) than {program.sha256[:12]}")
    for side in sides:
        stated = side.trace.attrs.get("computed_sha256")
        if side.parallel == "sdn" and stated:
            own = sdn.stands_in(network.config.reset, network.config.tau, network.sdn).sha256
            if own != stated:
                raise BadInput(
                    "--sdn", f"is another surrogate ({own[:12]}) than the {side.role}'s ({str(stated)[:12]})"
                )


def contradicted(judged: Judged, network: AnyNetwork) -> dict[str, np.ndarray]:
    """Layer -> decisions that the side's own form doesn't make on what the layer received: positions, rising.

    Inputs are known up to the rounding of what led to them (``Replay.received``): where that leaves both decisions
    possible, none is held.
    """
    import torch

    from train.networks import SpikingNeuron
    from train.neurons import possible, sdn

    side, names = judged.side, list(judged.operations)
    modules = [module for module in network.modules() if isinstance(module, SpikingNeuron)]
    wrong: dict[str, list[np.ndarray]] = {name: [] for name in names}
    kind = getattr(torch, side.dtype)
    for start in range(0, len(side.trace.input), ROWS):
        rows = np.arange(start, min(start + ROWS, len(side.trace.input)))
        for (name, (received, fired)), module in zip(judged.received(names, rows).items(), modules, strict=True):
            x = torch.from_numpy(np.ascontiguousarray(received.swapaxes(1, 2)))
            apart = torch.from_numpy(np.ascontiguousarray(judged.replay.received[name]))
            neuron = module.neuron(kind)
            options: dict[str, Any] = {}
            if side.parallel == "sdn":
                surrogate = sdn.stands_in(neuron.reset, float(neuron.tau.detach()), module.sdn)
                options = {"surrogate": surrogate, "unit": side.unit}
                surely, possibly = possible.sdn(x, apart, neuron, **options)
            else:
                surely, possibly = possible.pmbc(x, apart, neuron, int(side.trace.attrs["iterations"]))
            recorded = fired != 0
            sure, open_ = (held.numpy().swapaxes(1, 2) for held in (surely, possibly))
            bad = (recorded & ~open_) | (~recorded & sure)
            wrong[name].append(np.flatnonzero(bad) + start * bad[0].size)
    return {name: np.concatenate(keys) for name, keys in wrong.items()}
