"""Pathfinder-32 of Long Range Arena, from a user's copy: are two dots joined by a dashed line? 1,024 steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.files import parsing
from train.tasks import Split, Task, cache, copies

LAYOUTS = ["pathfinder32", "lra_release/pathfinder32", "lra_release/lra_release/pathfinder32"]
LEVEL = "curv_contour_length_14"  # LRA's hard set, the one that S4 and its followers report
SEED = 0
LEAST = 10  # images: fewer give a part none


def load(data_dir: Path | None = None) -> Task:
    """Grey pixels in [-1, 1], row by row: 80% train, 10% validation, 10% test, as LRA shares them out.

    LRA names no files for the parts; ours are drawn with numpy's RandomState(0), whose stream is frozen. ``data_dir``:
    the folder of curv_contour_length_14/, or one of LAYOUTS in it. Empty image files are left out, as LRA does.
    """
    folder = copies.find("pathfinder", data_dir, LAYOUTS, LEVEL) / LEVEL
    samples = _samples(folder)
    drawn = [samples[k] for k in np.random.RandomState(SEED).permutation(len(samples))]

    def fill(inputs: np.ndarray, labels: np.ndarray) -> None:
        for row, (path, label) in enumerate(drawn):
            inputs[row, :, 0] = pixels(path) / 127.5 - 1
            labels[row] = label

    signature = copies.signature([path for path, _ in samples])
    rows = cache.stored(f"pathfinder-{signature}", (len(drawn), 1024, 1), np.float32, fill)
    first, second = len(drawn) * 8 // 10, len(drawn) * 9 // 10
    train, validation, test = (
        Split(rows.inputs[start:stop], rows.labels[start:stop])
        for start, stop in ((0, first), (first, second), (second, len(drawn)))
    )
    return Task("pathfinder", train, test, classes=2, channels=1, validation=validation, image=(32, 32))


def _samples(folder: Path) -> list[tuple[Path, int]]:
    """Image and label of each line of metadata/*.npy, which are text: folder, file, number, label, and more."""
    lists = sorted((folder / "metadata").glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
    samples = []
    for path in lists:
        for line in copies.lines(path):
            words = line.split()
            if len(words) < 4 or words[3] not in ("0", "1"):
                raise BadInput(path, f"{line!r} is not folder, file, number and label")
            image = copies.listed(path, folder, f"{words[0]}/{words[1]}")
            if image.stat().st_size:
                samples.append((image, int(words[3])))
    if len(samples) < LEAST:
        raise BadInput(
            folder, f"has no metadata/*.npy that names {LEAST} images: {', '.join(path.name for path in lists)}"
        )
    return samples


def pixels(path: Path) -> np.ndarray:
    """The (1024,) grey levels of a 32 x 32 image."""
    from PIL import Image

    with parsing(path, "is no image that can be read"), Image.open(path, formats=["PNG"]) as image:
        if image.size != (32, 32):  # before it takes the memory that it asks for
            raise BadInput(path, f"is {image.width} x {image.height}, not 32 x 32")
        return np.asarray(image.convert("L")).reshape(1024)
