"""Lanes: a numba type of numbers side by side, W for the rows of a tile, that LLVM keeps in SIMD registers.

Arithmetic on Lanes rounds as torch does: a Python number takes the dtype of the Lanes (numba alone would widen
float32 to float64), and a comparison gives 1.0 or 0.0. ``load_tile`` and ``store_tile`` transpose 16x16 blocks
between row-major memory, where a row's steps are neighbours, and scratch, where a step's rows are. Spikes need no
transposing: a row's BLOCK spikes are the bits of one number (``store_spikes``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba.extending
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, overload, register_model

intrinsic: Any = numba.extending.intrinsic  # its own annotation counts the typing context as an argument

W = 32  # rows in a tile: two 512-bit registers, as one alone waits for each operation's result
BLOCK = 16  # steps in a transposed block
LINE = 64  # bytes of a cache line


class Lanes(types.Type):
    """``count`` floats of one dtype."""

    def __init__(self, dtype: types.Type, count: int = W) -> None:
        self.dtype: Any = dtype
        self.count = count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, vector(kind.dtype, kind.count))


def vector(dtype: types.Type, length: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), length)


def widened(context: Any, builder: ir.IRBuilder, value: ir.Value, kind: types.Type, lanes: Lanes) -> ir.Value:
    """A scalar in every lane; Lanes stay as they are."""
    if isinstance(kind, Lanes):
        return value
    return splat(builder, context.cast(builder, value, kind, lanes.dtype), vector(lanes.dtype, lanes.count))


def splat(builder: ir.IRBuilder, number: ir.Value, kind: ir.VectorType) -> ir.Value:
    """``number`` in every element."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count))


def define(operation: Callable[..., Any], emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> None:
    """Teach numba ``operation`` on two Lanes, or on Lanes and a number."""

    @intrinsic
    def on_lanes(_typing: Any, a: types.Type, b: types.Type) -> Any:
        lanes: Any = a if isinstance(a, Lanes) else b

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            pairs = zip(args, signature.args, strict=True)
            result = emit(builder, *(widened(context, builder, value, kind, lanes) for value, kind in pairs))
            if isinstance(result.type.element, ir.IntType):  # a comparison
                ones, zeros = (ir.Constant(args[0].type, [number] * lanes.count) for number in (1.0, 0.0))
                result = builder.select(result, ones, zeros)
            return result

        return lanes(a, b), codegen

    @overload(operation)
    def typed(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Lanes) or isinstance(b, Lanes):
            return lambda a, b: on_lanes(a, b)
        return None


define(operator.add, lambda builder, a, b: builder.fadd(a, b))
define(operator.sub, lambda builder, a, b: builder.fsub(a, b))
define(operator.mul, lambda builder, a, b: builder.fmul(a, b))
define(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
define(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))
define(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b))


@intrinsic
def absolute(_typing: Any, a: Lanes) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = args[0].type
        name = f"llvm.fabs.v{W}f{a.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        return builder.call(function, args)

    return a(a), codegen


@overload(abs)
def lanes_abs(a):  # type: ignore[no-untyped-def]
    return (lambda a: absolute(a)) if isinstance(a, Lanes) else None


@intrinsic
def where(_typing: Any, s: Lanes, a: Lanes, b: Lanes) -> Any:
    """a where s is 1, b where s is 0."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        chosen = builder.fcmp_unordered("!=", args[0], ir.Constant(args[0].type, [0.0] * W))
        return builder.select(chosen, args[1], args[2])

    return s(s, a, b), codegen


@intrinsic
def bits(_typing: Any, spiked: Lanes) -> Any:
    """Bit k is set where lane k of W isn't 0: uint32."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        chosen = builder.fcmp_unordered("!=", args[0], ir.Constant(args[0].type, [0.0] * W))
        return builder.bitcast(chosen, ir.IntType(W))

    return types.uint32(spiked), codegen


@intrinsic
def lowest(_typing: Any, number: types.Integer) -> Any:
    """The place of the lowest bit that is set in a uint32 above 0."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.zext(builder.cttz(args[0], ir.IntType(1)(1)), ir.IntType(64))

    return types.intp(types.uint32), codegen


def pointer(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value, index: ir.Value) -> ir.Value:
    """Address of array[index], a vector's first element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def load_vector(builder: ir.IRBuilder, address: ir.Value, kind: ir.VectorType) -> ir.Value:
    loaded = builder.load(builder.bitcast(address, kind.as_pointer()))
    loaded.align = 4 if isinstance(kind.element, ir.FloatType) else 8
    return loaded


def store_vector(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, streaming: bool = False) -> None:
    """``streaming``: past the caches, to an address that is a multiple of LINE bytes."""
    stored = builder.store(value, builder.bitcast(address, value.type.as_pointer()))
    stored.align = 4 if isinstance(value.type.element, ir.FloatType) else 8
    if streaming:
        stored.align = LINE
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))


def loading(bits: int | None) -> Any:
    @intrinsic
    def load(_typing: Any, array: Any, index: types.Integer) -> Any:
        """The values array[index : index + count] of a contiguous array."""
        lanes = Lanes(array.dtype, W if bits is None else bits // array.dtype.bitwidth)

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            address = pointer(context, builder, array, *args)
            return load_vector(builder, address, vector(array.dtype, lanes.count))

        return lanes(array, types.intp), codegen

    return load


load, load_line = loading(None), loading(LINE * 8)  # W lanes; the lanes of one cache line


@intrinsic
def store(_typing: Any, array: types.Array, index: types.Integer, value: Lanes) -> Any:
    """array[index : index + count] = value."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        store_vector(builder, args[2], pointer(context, builder, array, *args[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def one_by_one(builder: ir.IRBuilder, count: ir.Value, source: ir.Value, to: ir.Value) -> None:
    """Copy ``count`` elements."""
    with cgutils.for_range(builder, count) as loop:
        builder.store(builder.load(builder.gep(source, [loop.index])), builder.gep(to, [loop.index]))


# In LLVM's own words, as numba counts references around every branch, and spills all lanes for it.
@intrinsic
def load_first(_typing: Any, array: types.Array, index: types.Integer, count: types.Integer) -> Any:
    """The values array[index : index + count] in the first lanes, 0 in the others of W."""
    lanes = Lanes(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = vector(array.dtype, W)
        address = pointer(context, builder, signature.args[0], *args[:2])
        spare = cgutils.alloca_once(builder, kind)
        with builder.if_else(builder.icmp_signed("==", args[2], ir.IntType(64)(W))) as (whole, part):
            with whole:
                all_of_them = load_vector(builder, address, kind)
                after_whole = builder.block
            with part:
                builder.store(ir.Constant(kind, [0.0] * W), spare)
                one_by_one(builder, args[2], address, builder.bitcast(spare, kind.element.as_pointer()))
                some = builder.load(spare)
                after_part = builder.block
        result = builder.phi(kind)
        result.add_incoming(all_of_them, after_whole)
        result.add_incoming(some, after_part)
        return result

    return lanes(array, types.intp, types.intp), codegen


@intrinsic
def store_first(_typing: Any, array: types.Array, index: types.Integer, count: types.Integer, value: Lanes) -> Any:
    """array[index : index + count] = the first lanes of value."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = pointer(context, builder, signature.args[0], *args[:2])
        spare = cgutils.alloca_once(builder, args[3].type)
        with builder.if_else(builder.icmp_signed("==", args[2], ir.IntType(64)(W))) as (whole, part):
            with whole:
                store_vector(builder, args[3], address)
            with part:
                builder.store(args[3], spare)
                first = builder.bitcast(spare, args[3].type.element.as_pointer())
                one_by_one(builder, args[2], first, address)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value), codegen


def transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose BLOCK vectors of BLOCK elements: swap off-diagonal quarters, then their quarters, and so on."""
    half = BLOCK // 2
    while half:
        first = [j if not j & half else BLOCK + j - half for j in range(BLOCK)]
        second = [j + half if not j & half else BLOCK + j for j in range(BLOCK)]
        for i in range(BLOCK):
            if not i & half:
                a, b = rows[i], rows[i + half]
                for at, mask in ((i, first), (i + half, second)):
                    rows[at] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), mask))
        half //= 2
    return rows


def row_address(
    context: Any, builder: ir.IRBuilder, kinds: Any, array: ir.Value, starts: ir.Value, row: int, at: ir.Value
) -> ir.Value:
    """Address of array[starts[row] + at]."""
    start = builder.load(pointer(context, builder, kinds[1], starts, ir.IntType(64)(row)))
    return pointer(context, builder, kinds[0], array, builder.add(start, at))


@intrinsic
def load_tile(
    _typing: Any, array: types.Array, starts: types.Array, at: types.Integer, scratch: types.Array, to: types.Integer
) -> Any:
    """scratch[to + k*W + r] = array[starts[r] + at + k] for W rows r and BLOCK steps k."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = vector(array.dtype, BLOCK)
        for group in range(0, W, BLOCK):
            rows = []
            for row in range(group, group + BLOCK):
                address = row_address(context, builder, signature.args, args[0], args[1], row, args[2])
                rows.append(load_vector(builder, address, kind))
            for k, column in enumerate(transposed(builder, rows)):
                place = builder.add(args[4], ir.IntType(64)(k * W + group))
                store_vector(builder, column, pointer(context, builder, scratch, args[3], place))
        return context.get_dummy_value()

    return types.void(array, starts, types.intp, scratch, types.intp), codegen


def tile_store(streaming: bool) -> Any:
    @intrinsic
    def store_tile(
        _typing: Any,
        array: types.Array,
        starts: types.Array,
        at: types.Integer,
        scratch: types.Array,
        source: types.Integer,
    ) -> Any:
        """array[starts[r] + at + k] = scratch[source + k*W + r] for W rows r and BLOCK steps k."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            kind = vector(array.dtype, BLOCK)
            for group in range(0, W, BLOCK):
                columns = []
                for k in range(BLOCK):
                    place = builder.add(args[4], ir.IntType(64)(k * W + group))
                    columns.append(load_vector(builder, pointer(context, builder, scratch, args[3], place), kind))
                for row, values in enumerate(transposed(builder, columns)):
                    address = row_address(context, builder, signature.args, args[0], args[1], group + row, args[2])
                    store_vector(builder, values, address, streaming)
            return context.get_dummy_value()

        return types.void(array, starts, types.intp, scratch, types.intp), codegen

    return store_tile


def spike_store(streaming: bool) -> Any:
    @intrinsic
    def store_spikes(_typing: Any, array: types.Array, starts: types.Array, at: types.Integer, spiked: Lanes) -> Any:
        """array[starts[r] + at + k] = bit k of spiked[r] for W rows r and BLOCK steps k."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            integer = ir.IntType(spiked.dtype.bitwidth)
            integers = builder.fptosi(args[3], ir.VectorType(integer, W))
            bits = ir.Constant(ir.VectorType(integer, BLOCK), [1 << k for k in range(BLOCK)])
            none = ir.Constant(bits.type, [0] * BLOCK)
            ones, zeros = (ir.Constant(vector(array.dtype, BLOCK), [number] * BLOCK) for number in (1.0, 0.0))
            for row in range(W):
                lane = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [row] * BLOCK)
                mine = builder.and_(builder.shuffle_vector(integers, integers, lane), bits)
                values = builder.select(builder.icmp_unsigned("!=", mine, none), ones, zeros)
                address = row_address(context, builder, signature.args, args[0], args[1], row, args[2])
                store_vector(builder, values, address, streaming)
            return context.get_dummy_value()

        return types.void(array, starts, types.intp, spiked), codegen

    return store_spikes


store_tile, store_spikes = tile_store(streaming=False), spike_store(streaming=False)
# These need rows that start at multiples of LINE bytes.
stream_tile, stream_spikes = tile_store(streaming=True), spike_store(streaming=True)
