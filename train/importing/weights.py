"""The tensors of a foreign state dictionary, taken one by one, so that none is overlooked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from spikestrip.errors import BadInput


@dataclasses.dataclass
class Translated:
    """A foreign network as ours: ``config`` and ``weights`` are train.config.Config's and Network's.

    Derived weights are float64. ``surrogate``: the official SDN's weights, {} where the file has none.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    surrogate: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Weights:
    """Weights by name, of the file ``source``; ``take`` hands one out and strikes it off."""

    def __init__(self, source: Path, tensors: dict[str, Tensor]) -> None:
        self.source = source
        self.left = dict(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor ``name``. Raises BadInput if it is absent or not of ``shape`` (None: any size)."""
        if name not in self.left:
            raise BadInput(self.source, f"lacks {name}")
        value = self.left.pop(name)
        sizes = tuple(value.shape)
        if len(sizes) != len(shape) or any(want not in (None, size) for want, size in zip(shape, sizes, strict=True)):
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise BadInput(self.source, f"{name} has shape {sizes}, not ({expected})")
        return value

    def width(self, name: str) -> int:
        """The last dimension of the tensor ``name``, which stays. Raises BadInput if it is absent."""
        if name not in self.left or not self.left[name].ndim:
            raise BadInput(self.source, f"lacks {name}")
        return self.left[name].shape[-1]

    def take_all(self, prefix: str) -> dict[str, Tensor]:
        """Every tensor whose name starts with ``prefix``, under the rest of its name."""
        names = [name for name in self.left if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.left.pop(name) for name in names}

    def count(self, prefix: str) -> int:
        """How many layers there are: the numbers that follow ``prefix``, which have to be 0, 1, 2, ..."""
        numbers = {name.removeprefix(prefix).split(".")[0] for name in self.left if name.startswith(prefix)}
        if numbers != {str(number) for number in range(len(numbers))}:
            raise BadInput(self.source, f"the numbers after {prefix} are {', '.join(sorted(numbers))}")
        return len(numbers)

    def check_all_taken(self) -> None:
        """Raise BadInput if a tensor is left."""
        for name in self.left:
            raise BadInput(self.source, f"has weights {name}, whose part in the network isn't known")
