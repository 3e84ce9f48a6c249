"""Diagonals of two axes, whose sizes may be open."""

from __future__ import annotations

from tenfold.importers.shorthand import apply, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.graph import Value
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather
from tenfold.ops.movement import Slice


def diagonal(x: Value, first: int, second: int, offset: int = 0) -> Value:
    """The elements of two axes whose second index is `offset` above the first, as the last axis."""
    rest = [axis for axis in range(x.type.rank) if axis not in (first, second)]
    moved = transposed(x, (*rest, first, second))
    *outer, rows, columns = moved.type.shape
    count = dim.maximum(dim.minimum(rows + min(offset, 0), columns - max(offset, 0)), 0)
    start = max(offset, 0) + max(-offset, 0) * columns
    flat = reshaped(moved, (*outer, rows * columns))
    if not isinstance(columns, int):
        return apply(Gather(len(outer)), flat, Iota(start, columns + 1, count)())
    first_elements = (0,) * len(outer)
    result: Value = Slice((*first_elements, start), (*outer, count), (*(1,) * len(outer), columns + 1))(flat)
    return result
