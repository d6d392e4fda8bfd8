"""Checkpoints of Lightning: the weights, without any of the code that their hyperparameters and callbacks name."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch.serialization import get_unsafe_globals_in_checkpoint

from train.stored import load_zip


class Inert:
    """Stands for whatever class or function a pickle names: of anything it makes an empty dictionary, and torch's
    unpickler fills that with the items and attributes that follow."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def read(source: Path) -> dict[str, Any] | None:
    """{"state_dict": ...} of the file ``source``, or None if Lightning didn't write it.

    Raises whatever torch's unpickler meets: it calls nothing but ``Inert`` and its own functions for tensors.
    """
    named = get_unsafe_globals_in_checkpoint(source)
    content = load_zip(source, [(Inert, name) for name in named])
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        return None
    return {"state_dict": content.get("state_dict")}
