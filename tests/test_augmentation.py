"""Shifted training images, against numpy's padding."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.augmentation import shifted


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_an_image_moves_and_its_edge_is_repeated(height, width, channels, most, seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(4, height, width, channels)).astype(np.float32)
    offsets = rng.integers(-most, most + 1, (4, 2))
    x = torch.from_numpy(images.reshape(4, height * width, channels))
    found = shifted(x, (height, width), torch.from_numpy(offsets)).numpy().reshape(images.shape)
    for image, (down, right), moved in zip(images, offsets, found, strict=True):
        padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
        top, left = most - down, most - right
        np.testing.assert_array_equal(moved, padded[top : top + height, left : left + width])
