"""torch.compile of a network that holds our modules: around them, for their loops are compiled already, by numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
M = TypeVar("M")
R = TypeVar("R")


def as_it_is(forward: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """``forward``, which torch.compile leaves as it is: traced, its checks and arrays of numpy break it into pieces."""

    @wraps(forward)
    def called(self: M, *arguments: P.args, **named: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # decorated at once, it would load all of the compiler, which takes seconds
            result: R = torch.compiler.disable(forward)(self, *arguments, **named)
            return result
        return forward(self, *arguments, **named)

    return called
