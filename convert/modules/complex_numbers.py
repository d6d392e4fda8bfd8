"""The line for a diagonal SSM in plain torch, whose kernel or scan no step shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convert.modules import own
from spikestrip.errors import Refused

WAY_OUT = (
    "it computes with complex numbers: give a diagonal SSM as ss.nn.LRU.of(a, b, c, d) or ss.nn.S4D "
    "(docs/how-to-use-modules.md)"
)
STEPS = 8


class _Watched(TorchDispatchMode):
    """Notes whether anything complex is computed."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.seen |= isinstance(made, Tensor) and made.is_complex()
        return made


def explained(refusal: Refused, root: nn.Module, x: np.ndarray) -> Refused:
    """``refusal``, with the way out where ``root`` computes with complex numbers on x (B, *shape), or on a sequence of
    such steps, in code of its own."""
    if any(own.is_own(module) for module in root.modules()):
        return refusal
    step = torch.from_numpy(x.copy())
    for example in (step, step[:, None].repeat_interleave(STEPS, 1), step[None].repeat_interleave(STEPS, 0)):
        with torch.no_grad(), _Watched() as watched:
            for value in (example.float(), example):
                try:
                    root(value)
                except Exception:  # it is refused anyway
                    continue
        if watched.seen:
            return Refused(refusal.where, f"{refusal.reason}; {WAY_OUT}")
    return refusal
