"""A spike train of a training step that nobody looks at spike by spike."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Bits:
    """Spikes (B, width, L), of which training needs but the ``rate``, (), differentiable.

    words: (B, L, tiles) int32; bit k of word i is channel 32*i + k.
    """

    rate: Tensor
    words: Tensor
    width: int

    def train(self) -> Tensor:
        """The spikes, (B, width, L), 0 or 1 in float32."""
        channels = torch.arange(8 * self.words.element_size(), dtype=torch.int32)
        bits = (self.words.unsqueeze(-1) >> channels) & 1
        return bits.flatten(2)[..., : self.width].transpose(1, 2).float()
