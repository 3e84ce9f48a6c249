"""Attention of few queries to as many keys as each sequence has: what lies behind them is not read, and keys that a
table chooses from a pool of pages are read where they lie.
"""

from __future__ import annotations

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add
from tenfold.ops.attention import Attention, PagedAttention
from tenfold.ops.constant import Constant, Iota, scalar
from tenfold.ops.index import Gather
from tenfold.ops.logic import Greater, GreaterOrEqual, Less, LessOrEqual
from tenfold.ops.movement import Reshape, Transpose
from tenfold.rewrite.rule import Replacement, rule

_FEW = 16
"""Queries up to which most of the time goes into reading keys."""
_SPREAD = (0, 2, 1, 3)


@rule(
    """graph (%q: f32[2, 2, 1, 4], %k: f32[5, 3, 2, 4], %v: f32[5, 3, 2, 4], %t: i64[2, 2], %n: i64[2, 1, 1, 1]) {
      %keys = Transpose<permutation=(0, 2, 1, 3)>(Reshape<shape=(2, 6, 2, 4)>(Gather<axis=0>(%k, %t)))
      %values = Transpose<permutation=(0, 2, 1, 3)>(Reshape<shape=(2, 6, 2, 4)>(Gather<axis=0>(%v, %t)))
      return Attention<scale=0.5>(%q, %keys, %values, Less(Iota<start=0, step=1, count=6>(), %n))
    }""",
    """graph (%q: f32[2, 2, 1, 4], %k: f32[2, 2, 6, 4], %v: f32[2, 2, 6, 4], %n: i64[2, 1, 1, 6]) {
      return Attention<scale=0.5>(%q, %k, %v, Less(Iota<start=0, step=1, count=6>(), %n))
    }""",
)
def attend_by_length(value: Value) -> Replacement:
    """attention(q, k, v, place < length) -> attention(q, pages of k, pages of v, table, length)"""
    match value:
        case Value(Attention(causal=False, blind="zero") as op, (q, k, v, mask)):
            batch, queries = q.type.shape[0], q.type.shape[2]
            ends = _ends(mask, k.type.shape[2])
            few = isinstance(queries, int) and queries <= _FEW
            if not few or ends is None or ends.type.shape != (batch, 1, 1, 1):
                return None
            paged = _pages(k, v)
            if paged is None:
                return None
            lengths = Reshape((batch,))(ends)
            made: Value = PagedAttention(op.scale, softcap=op.softcap)(q, *paged, lengths)
            return made
    return None


def _ends(mask: Value, keys: Size) -> Value | None:
    """The number of keys that a mask lets be seen, if it says no more."""
    match mask:
        case Value(Less(), (place, ends)) | Value(Greater(), (ends, place)) if _places(place, keys):
            return ends if ends.type.dtype in (dt.i32, dt.i64) else None
        case Value(LessOrEqual(), (place, last)) | Value(GreaterOrEqual(), (last, place)) if _places(place, keys):
            if last.type.dtype in (dt.i32, dt.i64):
                ends = Add()(last, scalar(1, last.type.dtype)())
                return ends
    return None


def _places(value: Value, count: Size) -> bool:
    """Whether a value is 0, 1, … along its last axis."""
    if not value.type.rank or not dim.known_equal(value.type.size, count) or value.type.shape[-1] != count:
        return False
    while value.producer is not None and isinstance(value.op, Reshape):
        value = value.producer.inputs[0]
    match value:
        case Value(Iota(0, 1)):
            return True
        case Value(Constant(tensor)):
            return bool(np.array_equal(tensor.array.reshape(-1), np.arange(tensor.array.size)))
    return False


def _pages(k: Value, v: Value) -> tuple[Value, Value, Value] | None:
    """The pools of keys and values, and the table of both."""
    keys, values = _gathered(k), _gathered(v)
    if keys is None or values is None or keys[1] is not values[1]:
        keys, values = _whole(k), _whole(v)
    return None if keys is None or values is None else (keys[0], values[0], keys[1])


def _gathered(x: Value) -> tuple[Value, Value] | None:
    """The pool [pages, page, heads, D] and the table, where keys [B, heads, T, D] are pages of a table side by side."""
    match x:
        case Value(Transpose((0, 2, 1, 3)), (Value(Reshape(), (Value(Gather(0), (pool, table)),)),)):
            axis = 1
        case Value(
            Reshape(),
            (Value(Transpose(((0, 3, 1, 2, 4) | (0, 2, 1, 3, 4)) as turned), (Value(Gather(0), (pool, table)),)),),
        ):
            axis = 1 if turned == (0, 3, 1, 2, 4) else 2
        case _:
            return None
    if pool.type.rank != 4 or table.type.rank != 2 or table.type.dtype not in (dt.i32, dt.i64):
        return None
    shared = pool.type.shape[3 - axis]
    places = table.type.shape[1] * pool.type.shape[axis]
    wanted = (table.type.shape[0], shared, places, pool.type.shape[3])
    if not all(dim.known_equal(one, other) for one, other in zip(x.type.shape, wanted, strict=True)):
        return None
    return (pool if axis == 1 else Transpose(_SPREAD)(pool)), table


def _whole(x: Value) -> tuple[Value, Value] | None:
    """Keys [B, heads, T, D] as a page for each sequence."""
    batch = x.type.shape[0]
    if not isinstance(batch, int):
        return None
    table = Constant(Tensor(np.arange(batch, dtype=np.int32)[:, None]))()
    return Transpose(_SPREAD)(x), table


PAGES = (attend_by_length,)
