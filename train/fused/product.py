"""Small matrix products in SIMD lanes.

``product``: one in every lane, each entry of its matrices a vector, one number for each channel. Products whose
matrices differ from channel to channel are what a layer of S4D consists of; with the channels side by side in lanes
they need no transposing and reach the speed of one large product. ``rows_product``: of rows that are in the cache with
one matrix for all, as the mix has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import register_jitable

from train.neurons._lanes import LINE, intrinsic, load_vector, pointer, splat, store_vector, vector

ROWS, COLUMNS = 4, 6  # of a tile, whose 24 sums stay in registers: 10 loads for 24 multiply-adds
INT = ir.IntType(64)


def tile(rows: int, columns: int, *, scalars: bool = False) -> Callable[..., None]:
    """The product of ``rows`` of A and ``columns`` of B over ``depth`` terms, in one cache line of lanes.

    ``scalars``: A holds single numbers, which are the same in every lane.
    """

    @intrinsic
    def multiply(
        _typing: Any, a: Any, at_a: Any, row_a: Any, term_a: Any, b: Any, at_b: Any, term_b: Any, column_b: Any,
        c: Any, at_c: Any, row_c: Any, column_c: Any, depth: Any, add: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            row_a, term_a, term_b, column_b, row_c, column_c, depth, add = (
                args[i] for i in (2, 3, 6, 7, 10, 11, 12, 13)
            )
            lanes = vector(a.dtype, LINE * 8 // a.dtype.bitwidth)
            starts = [pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 4, 8)]
            places = [
                builder.gep(starts[2], [builder.add(builder.mul(row_c, INT(i)), builder.mul(column_c, INT(j)))])
                for i in range(rows)
                for j in range(columns)
            ]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * lanes.count)) for _ in places]
            for total in sums:  # the slot is made once, at the function's start, and cleared each time
                builder.store(ir.Constant(lanes, [0.0] * lanes.count), total)
            with builder.if_then(add):
                for total, place in zip(sums, places, strict=True):
                    builder.store(load_vector(builder, place, lanes), total)
            name = f"llvm.fmuladd.v{lanes.count}f{a.dtype.bitwidth}"
            fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(lanes, [lanes] * 3), name)
            with cgutils.for_range(builder, depth) as loop:

                def place_of(start: ir.Value, term: ir.Value, stride: ir.Value, which: int) -> ir.Value:
                    offset = builder.add(builder.mul(loop.index, term), builder.mul(stride, INT(which)))
                    return builder.gep(start, [offset])

                def line(place: ir.Value) -> ir.Value:
                    return load_vector(builder, place, lanes)

                def number(place: ir.Value) -> ir.Value:
                    return splat(builder, builder.load(place), lanes)

                of_a = number if scalars else line
                left = [of_a(place_of(starts[0], term_a, row_a, i)) for i in range(rows)]
                right = [line(place_of(starts[1], term_b, column_b, j)) for j in range(columns)]
                for i, total in enumerate(sums):
                    x, y = left[i // columns], right[i % columns]
                    builder.store(builder.call(fused, [x, y, builder.load(total)]), total)
            for total, place in zip(sums, places, strict=True):
                store_vector(builder, builder.load(total), place)
            return context.get_dummy_value()

        size = types.intp
        found = types.void(a, size, size, size, b, size, size, size, c, size, size, size, size, types.boolean)
        return found, codegen

    return multiply


whole, edge = tile(ROWS, COLUMNS), tile(ROWS, 1)


@register_jitable
def product(a, at_a, row_a, term_a, b, at_b, term_b, column_b, c, at_c, row_c, column_c, rows, columns, depth, add):  # type: ignore[no-untyped-def]
    """C = A B, or C += A B with ``add``, in the lanes of one cache line; ``rows`` is a multiple of ROWS.

    A is (rows, depth), B (depth, columns); each is given as a flat array, where it starts, and its two strides.
    """
    for column in range(0, columns - columns % COLUMNS, COLUMNS):
        for row in range(0, rows, ROWS):
            whole(
                a, at_a + row * row_a, row_a, term_a, b, at_b + column * column_b, term_b, column_b,
                c, at_c + row * row_c + column * column_c, row_c, column_c, depth, add,
            )  # fmt: skip
    for column in range(columns - columns % COLUMNS, columns):
        for row in range(0, rows, ROWS):
            edge(
                a, at_a + row * row_a, row_a, term_a, b, at_b + column * column_b, term_b, column_b,
                c, at_c + row * row_c + column * column_c, row_c, column_c, depth, add,
            )  # fmt: skip


def rows_by(height: int) -> Callable[..., None]:
    """What ``rows_product`` does with the rows first .. end, a multiple of ``height`` of them."""
    wide, narrow = tile(height, ROWS, scalars=True), tile(height, 1, scalars=True)

    @register_jitable
    def multiply(a, at_a, b, c, at_c, first, end, width):  # type: ignore[no-untyped-def]
        line = LINE // c.itemsize
        lanes = width - width % (ROWS * line)
        for row in range(first, end, height):
            from_a, to_c = at_a + row * width, at_c + row * width
            for lane in range(0, lanes, ROWS * line):
                wide(a, from_a, width, 1, b, lane, width, line, c, to_c + lane, width, line, width, False)
            for lane in range(lanes, width, line):
                narrow(a, from_a, width, 1, b, lane, width, line, c, to_c + lane, width, line, width, False)

    return multiply


by_columns, singly = rows_by(COLUMNS), rows_by(1)


@register_jitable
def rows_product(a, at_a, b, c, at_c, rows, width):  # type: ignore[no-untyped-def]
    """C = A B, of matrices row by row: A and C (rows, width), B (width, width).

    A and C are given as flat arrays and where they start; ``width`` is a multiple of a cache line's lanes.
    """
    tops = rows - rows % COLUMNS
    by_columns(a, at_a, b, c, at_c, 0, tops, width)
    singly(a, at_a, b, c, at_c, tops, rows, width)
