"""The data sets of a layer of a NetX file, checked one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from spikestrip.errors import BadInput
from spikestrip.operations import Shape


class Fields:
    """The data sets of one layer, or of its neuron."""

    def __init__(self, source: Path, where: str, group: Any) -> None:
        self.source, self.where = source, where
        if not isinstance(group, h5py.Group):
            self.refuse("is no group")
        self.group = group

    def refuse(self, reason: str) -> NoReturn:
        raise BadInput(self.source, f"{self.where}: {reason}")

    def __contains__(self, name: str) -> bool:
        return name in self.group

    def text(self, name: str) -> str:
        item = self.group.get(name)
        if not isinstance(item, h5py.Dataset) or item.size != 1 or item.dtype.kind not in "SO":
            self.refuse(f"has no {name}")
        value = np.ravel(item[()])[0]
        return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)

    def whole(self, name: str) -> np.ndarray:
        """Whole numbers, int64, of any shape."""
        item = self.group.get(name)
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
            self.refuse(f"has no numbers {name!r}")
        values = np.asarray(item[()], np.float64)
        if not np.isfinite(values).all() or (values != np.floor(values)).any() or np.abs(values).max(initial=0) > 2**31:
            self.refuse(f"{name} holds what is no whole number of 32 bits")
        return values.astype(np.int64)

    def number(self, name: str, otherwise: int | None = None) -> int:
        if otherwise is not None and name not in self:
            return otherwise
        values = self.whole(name).ravel()
        if values.size != 1:
            self.refuse(f"{name} holds {values.size} numbers, not one for the whole layer")
        return int(values[0])

    def pair(self, name: str) -> tuple[int, int]:
        """Down and across."""
        values = self.whole(name).ravel()
        if values.size not in (1, 2):
            self.refuse(f"{name} holds {values.size} numbers, not one or two")
        return int(values[0]), int(values[-1])

    def shape(self) -> Shape:
        """As slayer exports it: (channels, height, width), or one number."""
        values = self.whole("shape").ravel()
        if not 1 <= values.size <= 3 or (values < 1).any() or math.prod(values.tolist()) > 1 << 26:
            self.refuse(f"has the shape {values.tolist()[:6]}")
        return tuple(values.tolist())
