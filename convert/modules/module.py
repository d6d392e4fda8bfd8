"""A torch module of yours as a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported when it is needed: reading a .nir file needs none
    from torch import Tensor, nn

    from spikestrip.program import Program


def from_torch(module: nn.Module, example: Tensor) -> Program:
    """The program of a torch or snnTorch ``module`` whose forward is one time step.

    example: one step of input, (B, *shape), B >= 1, of real numbers; it sets the program's input shape. It, and
    then noise as large, is repeated for some steps through the module and through the program, both in float64: what
    enters every neuron, every spike and the output must agree.

    Weights keep their dtype; what is derived (a folded BatchNorm, decays, thresholds) is float64. States start at zero,
    whatever the module holds; nothing of the module is changed. If forward returns several values, the first is the
    program's output, and the others must be values that neurons return.

    Raises Refused, naming the submodule, for what no operation says exactly (docs/how-to-bring-your-own.md has the
    list), and BadInput for an example that is none.
    """
    from convert.modules.agreement import check, noise, steps
    from convert.modules.building import build
    from convert.modules.complex_numbers import explained
    from convert.modules.folding import plain
    from convert.modules.loops import followed
    from convert.modules.tracing import rooted, untouched
    from spikestrip.errors import Refused

    x = steps(example)
    shape = tuple(x.shape[1:])
    with untouched(module):
        root = rooted(plain(module))
        try:
            graph, taken = followed(root, shape)
            built = build(root, graph, shape, taken)
            for given, said in ((x, "the example"), (noise(x), "noise as large as the example")):
                with untouched(root):
                    check(root, built, given, graph, taken, said)
        except Refused as refusal:
            raise explained(refusal, root, x) from refusal
    return built.program
