"""From a network for a Speck, trained in parallel, to its iterative program."""

from __future__ import annotations

import numpy as np

from spikestrip.operations import LIF, Affine, Conv2d, Flatten, Operation, SumPool2d
from spikestrip.program import Program, chain
from train.speck import KERNEL, POOL, SpeckNetwork


def strip_speck(network: SpeckNetwork) -> Program:
    """The program of ``network``: float32 weights, integrate-and-fire neurons, sums over 2 x 2 places, counted spikes.

    Names are numbered in order of execution, as ``convert.strip`` numbers them.
    """
    made: list[tuple[str, Operation]] = []
    pad = KERNEL // 2

    def add(name: str, operation: Operation) -> None:
        made.append((f"n{len(made):02d}_{name}", operation))

    for index, layer in enumerate((*network.hidden, network.head)):
        name = "head" if layer is network.head else f"layer{index}"
        weight = layer.weight.detach().cpu().numpy().copy()
        if made and network.config.maps:
            add(f"layer{index - 1}_pool", SumPool2d(POOL, POOL, POOL, POOL))
        if weight.ndim == 4:
            add(f"{name}_conv", Conv2d(weight, pad_top=pad, pad_bottom=pad, pad_left=pad, pad_right=pad))
        else:
            if network.config.maps:
                add("flat", Flatten())
            add(f"{name}_mix", Affine(weight))
        program = chain(network.config.shape, made)
        one = np.ones(program.shapes[program.output])
        add(f"{name}_spike", LIF(one, one, reset_kind="soft"))
    return chain(network.config.shape, made, "count")
