"""Arrays whose samples are made when they are asked for: from a file, or from other arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Rows(NDArrayOperatorsMixin):
    """An array of ``shape`` and ``dtype`` that is never held: ``rows[3:5]`` loads two samples, and nothing else.

    load: a slice of samples, with a start and a stop -> (samples, *shape[1:]) of ``dtype``.
    Any other use (an operator, a numpy function, a method of arrays) loads all of it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike, load: Callable[[slice], np.ndarray]) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._load = load

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if isinstance(first, slice) and first.step in (None, 1):
            start, stop, _ = first.indices(len(self))
            return self._load(slice(start, max(start, stop)))[(slice(None), *rest)]
        if isinstance(first, int | np.integer):
            row = range(len(self))[int(first)]
            return self._load(slice(row, row + 1))[(0, *rest)]
        if isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind in "iu":
            loaded = np.empty((first.size, *self.shape[1:]), self.dtype)
            for place, row in enumerate(first):
                loaded[place] = self[int(row)]
            return loaded[(slice(None), *rest)]
        return np.asarray(self)[index]

    def __array__(self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        whole = self._load(slice(0, len(self)))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(x) if isinstance(x, Rows) else x for x in inputs), **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"<Rows {self.shape} {self.dtype}>"
