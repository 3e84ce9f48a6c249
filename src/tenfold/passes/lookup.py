"""Tables of constants: a product with rows of 0 and one 1 looks up rows of one, and what is done to all rows that are
looked up is done to the table.
"""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant, Fill, scalar
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Cast, Equal, GreaterOrEqual, Less, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Reshape
from tenfold.passes.fold import SMALL_BYTES, nbytes
from tenfold.rewrite.pattern import constant, exact_constant, used_once
from tenfold.rewrite.rule import Replacement, rule


@rule(
    """graph (%x: i32[N, 2, 1]) {
      return MatMul(Cast<to=f32, saturate=true>(Equal(%x, i32[1, 1, 3]{0, 1, 2})), f32[3, 2]{1, 2, 3, 4, 5, 6})
    }""",
    """graph (%x: i32[N, 2, 1]) {
      return MatMul(Cast<to=f32, saturate=true>(Equal(%x, i32[1, 1, 3]{0, 2, 1})), f32[3, 2]{1, 2, 3, 4, 5, 6})
    }""",
)
def one_hot_product(value: Value) -> Replacement:
    """one_hot(x) w -> the rows x of w, or of zeros where x is none of its rows"""
    match value:
        case Value(MatMul(), (Value(Cast(), (Value(Equal(), (x, classes)),)), Value(Constant()) as w)) if _counts(
            x, classes, w
        ):
            count, dtype = w.type.shape[0], x.type.dtype
            assert isinstance(count, int)
            places = Reshape(value.type.shape[:-1])(x)
            first, end = scalar(0, dtype)(), scalar(count, dtype)()
            known = And()(GreaterOrEqual()(places, first), Less()(places, end))
            zeros = Fill((1, w.type.shape[1]), scalar(0, w.type.dtype).tensor)()
            return Gather()(Concat(0)(w, zeros), Where()(known, places, end))
    return None


def _counts(x: Value, classes: Value, w: Value) -> bool:
    """Whether `classes` are the numbers of the rows of w, all finite, along the last axis, along which x is even."""
    numbers, table = exact_constant(classes), constant(w)
    if numbers is None or table is None or w.type.rank != 2 or x.type.dtype not in (dt.i32, dt.i64):
        return False
    even = x.type.rank > 1 and x.type.rank == classes.type.rank and x.type.shape[-1] == 1
    lined = numbers.size == numbers.shape[-1] == len(table)
    return bool(even and lined and np.array_equal(numbers.ravel(), np.arange(len(table))) and np.isfinite(table).all())


@rule(
    "graph (%i: i64[N]) { return Add(Gather<axis=0>(f32[9, 1]{1, 2, 3, 4, 5, 6, 7, 8, 9}, %i), f32[1, 1]{5}) }",
    "graph (%i: i64[2]) { return Add(Gather<axis=0>(f32[9, 1]{1, 2, 3, 4, 5, 6, 7, 8, 9}, %i), f32[2, 1]{5, 6}) }",
)
def after_lookup(value: Value) -> Replacement:
    """f(table[i], c) -> f(table, c)[i], for a small table and constants that are alike for all its rows"""
    op = value.op
    if not isinstance(op, Elementwise):
        return None
    found = [one for one in value.inputs if not isinstance(one.op, Constant)]
    match found:
        case [Value(Gather(axis=0) as gather, (Value(Constant()) as table, places)) as rows] if used_once(rows):
            shape = table.type.shape
            small = nbytes(table.type) <= SMALL_BYTES and value.type.dtype.itemsize <= table.type.dtype.itemsize
            operands = [table if one is rows else _even(one, len(shape) - 1) for one in value.inputs]
            if not small or None in operands or value.type.shape != rows.type.shape:
                return None
            after = op(*(one for one in operands if one is not None))
            return gather(after, places) if after.type.shape == shape else None
    return None


def _even(c: Value, rank: int) -> Value | None:
    """A constant without leading axes of size 1 beyond `rank` others; None if it has other axes there."""
    extra = max(0, c.type.rank - rank)
    if any(size != 1 for size in c.type.shape[:extra]):
        return None
    found: Value = Reshape(c.type.shape[extra:])(c) if extra else c
    return found


LOOKUP = (one_hot_product, after_lookup)
