"""aten's operators that give a tensor with a part of it replaced: a place, a slice, a diagonal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, axis_of, cast, measure, part, reshaped, span, transposed
from tenfold.importers.torch import tensor
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.index import Gather
from tenfold.ops.logic import Equal, Less, Where
from tenfold.ops.movement import Concat


def select_scatter(x: Value, source: Value, axis: int, index: Size | Value) -> Value:
    """x with one place of an axis replaced."""
    at = axis_of(axis, x.type.rank)
    if isinstance(index, Value):
        return _replaced_at(x, cast(tensor.unsqueeze(source, at), x.type.dtype), at, cast(reshaped(index, ()), dt.i64))
    place = tensor.position(index, x.type.shape[at])
    return _replaced(x, tensor.unsqueeze(source, at), at, place, 1, 1)


def _replaced_at(x: Value, new: Value, axis: int, index: Value) -> Value:
    size, rank = x.type.shape[axis], x.type.rank
    places = reshaped(Iota(0, 1, size)(), tuple(size if at == axis else 1 for at in range(rank)))
    behind = apply(Less(), index, 0)
    chosen: Value = Where()(behind, apply(Add(), index, measure(size, dt.i64)), index)
    result: Value = Where()(apply(Equal(), places, chosen), new, x)
    return result


def slice_scatter(
    x: Value, source: Value, axis: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> Value:
    """x with a slice of an axis replaced."""
    at = axis_of(axis, x.type.rank)
    first, count = span(x.type.shape[at], 0 if start is None else start, tensor.END if end is None else end, step)
    return _replaced(x, source, at, first, count, step)


def _replaced(x: Value, source: Value, axis: int, first: Size, count: Size, step: int) -> Value:
    size = x.type.shape[axis]
    kind, shape = x.type.dtype, [count if at == axis else one for at, one in enumerate(x.type.shape)]
    new = tensor.expand(cast(source, kind), shape)
    if step != 1:
        return _woven(x, new, axis, first, count, step)
    if first == 0 and dim.known_equal(count, size):
        return new
    pieces = [(0, first), (first + count, size - first - count)]
    before, after = (part(x, axis, start, length) if length != 0 else None for start, length in pieces)
    return apply(Concat(axis), *(one for one in (before, new, after) if one is not None))


def _woven(x: Value, new: Value, axis: int, first: Size, count: Size, step: int) -> Value:
    size = x.type.shape[axis]
    if not isinstance(size, int) or not isinstance(first, int) or not isinstance(count, int):
        raise UnsupportedError("a strided slice that is assigned must have known sizes")
    places = np.arange(size)
    places[first : first + count * step : step] = size + np.arange(count)
    return apply(Gather(axis), apply(Concat(axis), x, new), Constant(Tensor(places))())


def diagonal_scatter(x: Value, source: Value, offset: int = 0, first: int = 0, second: int = 1) -> Value:
    """x with a diagonal of two axes replaced."""
    a, b = axis_of(first, x.type.rank), axis_of(second, x.type.rank)
    order = (*(axis for axis in range(x.type.rank) if axis not in (a, b)), a, b)
    moved = transposed(x, order)
    rows, columns = moved.type.shape[-2:]
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise UnsupportedError("the sizes of a diagonal must be known when the engine is built")
    down, right = np.indices((rows, columns))
    held = right - down == offset
    due = np.where(held, np.minimum(down, right), 0)
    new = apply(Gather(source.type.rank - 1), cast(source, x.type.dtype), Constant(Tensor(due))())
    placed: Value = Where()(Constant(Tensor(held))(), new, moved)
    return transposed(placed, tuple(int(axis) for axis in np.argsort(order)))


TABLE: Mapping[str, Callable[..., Any]] = {
    "select_scatter": select_scatter,
    "slice_scatter": slice_scatter,
    "diagonal_scatter": diagonal_scatter,
}
