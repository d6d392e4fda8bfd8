"""Symbols in place of arrays: what a step does to them is written down as ONNX nodes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spikestrip.operations import Shape

ELEMENTWISE = {"exp": "Exp", "sqrt": "Sqrt", "floor": "Floor", "abs": "Abs", "sign": "Sign"}
"""Functions of the array namespace, and the ONNX operator that says the same."""


class Untraceable(Exception):
    """A step asks for something that has no row here; the message says for what."""


class _Batch(int):
    """The size of the batch axis: it is only known at run time, and broadcasts like 1."""


B = _Batch(1)


class Tape:
    """The nodes of one step, in order, and the parameters that it may read."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.parameters: dict[str, np.ndarray] = {}
        self._constants: dict[tuple[str, bytes, Shape], Value] = {}

    def value(self, name: str, shape: Sequence[int], dtype: str) -> Value:
        return Value(self, name, tuple(shape), dtype)

    def parameter(self, field: str, array: np.ndarray, part: str = "", dtype: str = "") -> Value:
        """A parameter of the operation, or a part of one."""
        name = f"{field}_{part}" if part else field
        self.parameters[name] = array
        value = self.value(name, array.shape, dtype or self.dtype)
        value.field, value.array = field, array
        return value

    def constant(self, number: Any, dtype: str) -> Value:
        array = np.asarray(number, dtype)
        key = (dtype, array.tobytes(), array.shape)
        if key not in self._constants:
            tensor = numpy_helper.from_array(array)
            self._constants[key] = self.emit("Constant", [], array.shape, dtype, value=tensor)
        return self._constants[key]

    def emit(self, op: str, inputs: Sequence[Value], shape: Sequence[int], dtype: str, **attributes: Any) -> Value:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [value.name for value in inputs], [name], **attributes))
        return self.value(name, shape, dtype)

    def integers(self, numbers: Sequence[int]) -> Value:
        return self.constant(list(numbers), "int64")


def _binary(op: str, dtype: str = "", swapped: bool = False, logical: bool = False) -> Callable[[Value, Any], Value]:
    def apply(self: Value, other: Any) -> Value:
        a, b = self, other if isinstance(other, Value) else self.tape.constant(other, self.dtype)
        a, b = (b, a) if swapped else (a, b)
        bits = op.startswith("Bitwise")
        if a.dtype != b.dtype or (a.dtype == "bool") != logical or (bits and a.dtype != "int64"):
            raise Untraceable(f"{op} of {a.dtype} and {b.dtype}")
        return self.tape.emit(op, [a, b], _broadcast(a.shape, b.shape), dtype or self.dtype)

    return apply


def _broadcast(*shapes: Shape) -> Shape:
    shape = np.broadcast_shapes(*shapes)
    batched = [each for each in shapes if each and each[0] is B]
    if any(len(each) < len(shape) for each in batched):
        raise Untraceable("an array with more axes than the stream")
    return (B, *shape[1:]) if batched else shape


class Value:
    """A symbol in place of an array: its shape is known but for the batch, its elements are not."""

    __array_ufunc__ = None  # numpy leaves its arrays' operators to ours
    device = ""

    def __init__(self, tape: Tape, name: str, shape: Shape, dtype: str) -> None:
        self.tape, self.name, self.shape, self.dtype = tape, name, shape, dtype
        self.field = ""
        self.array: np.ndarray | None = None  # what a parameter holds

    __add__ = _binary("Add")
    __radd__ = _binary("Add", swapped=True)
    __sub__ = _binary("Sub")
    __rsub__ = _binary("Sub", swapped=True)
    __mul__ = _binary("Mul")
    __rmul__ = _binary("Mul", swapped=True)
    __truediv__ = _binary("Div")
    __ge__ = _binary("GreaterOrEqual", "bool")
    __gt__ = _binary("Greater", "bool")
    __le__ = _binary("LessOrEqual", "bool")
    __lt__ = _binary("Less", "bool")
    __or__ = _binary("Or", logical=True)
    __xor__ = _binary("BitwiseXor")

    def __and__(self, other: Any) -> Value:
        return _binary("And", logical=True)(self, other) if self.dtype == "bool" else _binary("BitwiseAnd")(self, other)

    def __rshift__(self, places: int) -> Value:
        """Of integers that hold the sign in their highest bit, as numpy does; ONNX shifts unsigned ones alone."""
        if self.dtype != "int64" or not 0 < places < 64:
            raise Untraceable(f"a shift of {self.dtype} by {places}")
        bits = self.tape.emit("Cast", [self], self.shape, "uint64", to=onnx.TensorProto.UINT64)
        by = self.tape.constant(places, "uint64")
        bits = self.tape.emit("BitShift", [bits, by], self.shape, "uint64", direction="RIGHT")
        shifted = self.tape.emit("Cast", [bits], self.shape, "int64", to=onnx.TensorProto.INT64)
        sign = 1 << (63 - places)  # where the sign came to lie
        return (shifted ^ sign) - sign

    def __rtruediv__(self, other: float) -> Value:
        """Fenced: ONNX Runtime makes (1 / x) * y one y / x, which rounds once (DivMulFusion)."""
        return _binary("Div", swapped=True)(self, other).fenced()

    def __neg__(self) -> Value:
        return self.tape.emit("Neg", [self], self.shape, self.dtype)

    def __matmul__(self, other: Value) -> Value:
        """Fenced: ONNX Runtime makes a factor next to a product its float32 ``alpha`` (MatMulScaleFusion)."""
        shape = (*_broadcast(self.shape[:-2], other.shape[:-2]), self.shape[-2], other.shape[-1])
        factors = [value if value.array is not None else value.fenced() for value in (self, other)]
        return self.tape.emit("MatMul", factors, shape, self.dtype).fenced()

    def fenced(self) -> Value:
        """The same value, out of the reach of fusions: they don't look through a Reshape, which copies nothing."""
        return self.tape.emit("Reshape", [self, self.tape.integers([0] * self.ndim)], self.shape, self.dtype)

    def __eq__(self, other: object) -> bool:
        raise Untraceable("a test for equality")

    def __bool__(self) -> bool:
        raise Untraceable("a decision on a value that is known only when it runs")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Value:  # noqa: N802 - as arrays call it
        if self.array is None:
            raise Untraceable("the transpose of a stream")
        return self._part("t", self.array.T)

    def _part(self, name: str, array: np.ndarray) -> Value:
        """What is taken from a parameter is a parameter: stored as it is used, not taken anew in each step."""
        return self.tape.parameter(self.field, array, name)

    def __getitem__(self, key: Any) -> Value:
        """Slices, integers, None and ``...``: Slice, then Squeeze, then Unsqueeze."""
        if self.array is not None:
            return self._part(str(len(self.tape.parameters)), self.array[key])
        items = list(key) if isinstance(key, tuple) else [key]
        at = items.index(...) if ... in items else len(items)
        covered = sum(item is not None and item is not ... for item in items)
        items[at : at + 1] = [slice(None)] * (self.ndim - covered)
        axes = [item for item in items if item is not None]
        dropped = [axis for axis, item in enumerate(axes) if isinstance(item, int)]
        kept = [item for item in items if not isinstance(item, int)]
        added = [place for place, item in enumerate(kept) if item is None]
        value = self._slice(axes)
        shape = [size for axis, size in enumerate(value.shape) if axis not in dropped]
        if dropped:
            value = self.tape.emit("Squeeze", [value, self.tape.integers(dropped)], shape, self.dtype)
        for place in added:
            shape.insert(place, 1)
        if added:
            value = self.tape.emit("Unsqueeze", [value, self.tape.integers(added)], shape, self.dtype)
        return value

    def _slice(self, items: Sequence[Any]) -> Value:
        cut: list[tuple[int, int, int, int]] = []
        shape = list(self.shape)
        for axis, (item, size) in enumerate(zip(items, self.shape, strict=True)):
            if isinstance(item, int):
                item = slice(item, item + 1 or None)
            elif not isinstance(item, slice):
                raise Untraceable(f"an index by {type(item).__name__}")
            if item == slice(None):
                continue
            start, stop, step = item.indices(size)
            if size is B or step < 1:
                raise Untraceable("a slice of the batch axis, or backwards")
            shape[axis] = len(range(start, stop, step))
            if shape[axis] != size:
                cut.append((start, stop, axis, step))
        if not cut:
            return self
        return self.tape.emit("Slice", [self, *map(self.tape.integers, zip(*cut, strict=True))], shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class _Filled:
    """One value to pad with: the batch is unknown, so no array holds it."""

    shape: Shape
    value: float = 0


class Namespace:
    """Stands in for numpy in ``step(xp, ...)``."""

    int64 = "int64"

    def __getattr__(self, name: str) -> Callable[..., Value]:
        if name in ELEMENTWISE:
            return lambda x: x.tape.emit(ELEMENTWISE[name], [x], x.shape, x.dtype)
        raise Untraceable(f"{name}(), which has no ONNX row")

    @staticmethod
    def astype(x: Value, dtype: str) -> Value:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return x.tape.emit("Cast", [x], x.shape, dtype, to=kind)

    @staticmethod
    def clip(x: Value, low: float | None, high: float | None) -> Value:
        for op, bound in (("Max", low), ("Min", high)):  # ONNX Runtime's keep NaN, as numpy does
            if bound is not None:
                x = x.tape.emit(op, [x, x.tape.constant(bound, x.dtype)], x.shape, x.dtype)
        return x

    @staticmethod
    def cumulative_sum(x: Value, axis: int) -> Value:
        return x.tape.emit("CumSum", [x, x.tape.constant(axis, "int64")], x.shape, x.dtype)

    @staticmethod
    def reshape(x: Value, shape: Sequence[int]) -> Value:
        if shape[0] is not x.shape[0] or min(shape) < 1:
            raise Untraceable(f"a reshape to {tuple(shape)}")
        sizes = x.tape.integers([0, *shape[1:]])  # 0: as it was
        return x.tape.emit("Reshape", [x, sizes], shape, x.dtype)

    @staticmethod
    def maximum(a: Value, b: Value) -> Value:
        return a.tape.emit("Max", [a, b], _broadcast(a.shape, b.shape), a.dtype)

    @staticmethod
    def zeros(shape: Sequence[int], dtype: str = "", device: str = "") -> _Filled:
        return _Filled(tuple(shape))

    @staticmethod
    def full(shape: Sequence[int], value: float, dtype: str = "", device: str = "") -> _Filled:
        return _Filled(tuple(shape), value)

    @staticmethod
    def concat(parts: Sequence[Any], axis: int = 0) -> Value:
        """Of streams, or of one stream with one value around it."""
        parts = [part for part in parts if part.shape[axis] > 0]
        streams = [part for part in parts if isinstance(part, Value)]
        first = streams[0]
        size = sum(part.shape[axis] for part in parts)
        shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
        if len(parts) == 1:
            return first
        if len(streams) == len(parts):
            return first.tape.emit("Concat", streams, shape, first.dtype, axis=axis)
        if len(streams) > 1:
            raise Untraceable("streams with zeros between them")
        (value,) = {part.value for part in parts if isinstance(part, _Filled)}
        before = sum(part.shape[axis] for part in itertools.takewhile(lambda part: part is not first, parts))
        after = size - before - first.shape[axis]
        pads, axes = first.tape.integers([before, after]), first.tape.integers([axis])
        filling = first.tape.constant(value, first.dtype)
        return first.tape.emit("Pad", [first, pads, filling, axes], shape, first.dtype)
