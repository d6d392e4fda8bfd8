"""Training images that are others each time that they are seen."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(x: Tensor, image: tuple[int, int], offsets: Tensor) -> Tensor:
    """Images as sequences of their pixels, row by row, each moved down and to the right by its own offsets.

    x: (B, T, C), T pixels of ``image`` (height, width); offsets: (B, 2) integers. What comes in from outside repeats
    the pixels at the edge.
    """
    height, width = image
    rows = (torch.arange(height) - offsets[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) - offsets[:, 1:]).clamp(0, width - 1)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).flatten(1).to(x.device)
    return x.gather(1, pixels[:, :, None].expand(x.shape))
