"""Makes lava-nc 0.10 importable on Python 3.11 and later, and puts everything back."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

_UNHASHABLE = ("lava.magma.compiler.var_model", "ByteEncoder")


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """While this context is open ``import lava...`` works.

    Since Python 3.11 an unhashable dataclass can't be a field's default, and Lava's ByteEncoder is used as one.
    That one class is given ``unsafe_hash=True``; afterwards ``dataclasses.dataclass`` is the original again, also in
    the modules that were imported meanwhile.
    """
    original: Callable[..., Any] = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def decorate(target: type) -> type:
            hashable = {"unsafe_hash": True} if (target.__module__, target.__qualname__) == _UNHASHABLE else {}
            return original(target, **(options | hashable))

        return decorate if cls is None else decorate(cls)

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            if names.get("dataclass") is dataclass:
                names["dataclass"] = original
