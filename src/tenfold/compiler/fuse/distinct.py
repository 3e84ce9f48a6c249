"""The distinct elements or slices of a tensor, by a stable sort: equal ones then lie side by side."""

from __future__ import annotations

import numpy as np

from tenfold.compiler.fuse.revealed import PLAIN, number, positions, ranks
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Maximum, Sub
from tenfold.ops.constant import Fill, Iota, scalar
from tenfold.ops.control import Loop
from tenfold.ops.index import Gather, ScatterElements
from tenfold.ops.logic import And, Cast, Equal, IsNan, Not, NotEqual, Or
from tenfold.ops.movement import Concat, Reshape, Transpose
from tenfold.ops.reduce import Reduce
from tenfold.ops.sort import TopK, Unique


def distinct(op: Unique, node: Node) -> tuple[Value, ...] | None:
    """The distinct ones, where each first stands, which of them each is, how often each occurs"""
    (x,) = node.inputs
    if x.type.dtype not in PLAIN:
        return None
    count, rows = _rows(op, Cast(dt.u8)(x) if x.type.dtype is dt.boolean else x)
    order = _order(rows, count)
    begins = _begins(Gather(0)(rows, order), count, together=op.axis is None)
    places = positions(begins)
    group: Value = ScatterElements(0)(_zeros(count), order, ranks(begins))
    first: Value = Gather(0)(order, places)
    (found,) = places.type.shape
    after = Concat(0)(places, Reshape((1,))(number(count)))
    often: Value = Sub()(Gather(0)(after, Iota(1, 1, found, dt.i64)()), places)
    if not op.sorted:
        first, appearance = TopK(found, 0, False)(first)
        often = Gather(0)(often, appearance)
        named = ScatterElements(0)(_zeros(found), appearance, Iota(0, 1, found, dt.i64)())
        group = Gather(0)(named, group)
    whole = Reshape((count,))(x) if op.axis is None else x
    return Gather(op.axis or 0)(whole, first), first, group, often


def _rows(op: Unique, x: Value) -> tuple[Size, Value]:
    """How many elements or slices there are, and each as a row: [count, width], or [count] for elements."""
    if op.axis is None or x.type.rank == 1:
        return x.type.size, Reshape((x.type.size,))(x)
    axis = op.axis % x.type.rank
    turned = Transpose((axis, *(one for one in range(x.type.rank) if one != axis)))(x)
    count = x.type.shape[axis]
    return count, Reshape((count, dim.product(turned.type.shape[1:])))(turned)


def _order(rows: Value, count: Size) -> Value:
    """The places of the rows in ascending order: of wide ones sorted by each column, the last one first."""
    if rows.type.rank == 1:
        order: Value = TopK(count, 0, False)(rows)[1]
        return order
    width = rows.type.shape[1]
    body = Graph(name="Unique")
    turn, goes = body.input("turn", Type(dt.i64, ())), body.input("goes", Type(dt.boolean, ()))
    before, table = body.input("order", Type(dt.i64, (count,))), body.input("rows", rows.type)
    column = Reshape((count,))(Gather(1)(table, Reshape((1,))(Sub()(number(width - 1), turn))))
    _, places = TopK(count, 0, False)(Gather(0)(column, before))
    body.set_outputs((goes, Gather(0)(before, places)), ("goes", "order"))
    start = Iota(0, 1, count, dt.i64)()
    found = Loop(body, 1)(number(width), scalar(True, dt.boolean)(), start, rows)
    result: Value = found[0] if isinstance(found, tuple) else found
    return result


def _begins(rows: Value, count: Size, together: bool) -> Value:
    """Which sorted rows differ from the one before; NaN from NaN only if they do not belong `together`."""
    counting = Iota(0, 1, count, dt.i64)()
    before = Gather(0)(rows, Maximum()(Sub()(counting, scalar(1, dt.i64)()), scalar(0, dt.i64)()))
    differs: Value = NotEqual()(rows, before)
    if together and rows.type.dtype.is_float:
        differs = And()(differs, Not()(And()(IsNan()(rows), IsNan()(before))))
    if rows.type.rank > 1:
        differs = Reduce("any", (1,), False)(differs)
    result: Value = Or()(Equal()(counting, scalar(0, dt.i64)()), differs)
    return result


def _zeros(count: Size) -> Value:
    result: Value = Fill((count,), Tensor(np.zeros((), np.int64)))()
    return result
