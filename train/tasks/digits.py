"""scikit-learn's digits: 1,797 real 8x8 digits as sequences of 64 steps, 20% of each class held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from train.tasks import Task, hold_out


def load(data_dir: Path | None = None) -> Task:
    """Pixels in [0, 1]. The data is in the package: ``data_dir`` is not needed."""
    images, labels = load_digits(return_X_y=True)
    inputs = (images / 16).astype(np.float32)[:, :, None]
    train, test = hold_out(inputs, labels.astype(np.int64), share=0.2, seed=0)
    return Task("digits", train, test, classes=10, channels=1, image=(8, 8))
