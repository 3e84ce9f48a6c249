"""Non-maximum suppression as a loop of kernels: each turn takes the best box left of every class of every image.

Only boxes above the threshold take part. They lie in one row, class after class; what belongs to a class is gathered
from and scattered to a vector of classes, so a turn costs a few sweeps over the row, however many classes there are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tenfold.compiler.fuse.revealed import filled, number, positions
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mod, Mul, Sub
from tenfold.ops.constant import Constant, Fill, Iota, scalar
from tenfold.ops.control import Loop
from tenfold.ops.index import Gather, ScatterElements
from tenfold.ops.logic import And, Cast, Equal, Greater, Or, Where
from tenfold.ops.movement import Concat, Reshape, Slice
from tenfold.ops.reduce import Cumulative, Reduce
from tenfold.ops.sort import NonMaxSuppression

NONE = -np.inf
"""The score of a box that is taken or left out; no box begins with it."""


class Boxes(NamedTuple):
    """A row of boxes: their edges and areas."""

    top: Value
    left: Value
    bottom: Value
    right: Value
    area: Value

    def at(self, places: Value) -> Boxes:
        """The boxes at these places of the row."""
        return Boxes(*(Gather(0)(one, places) for one in self))

    def overlap(self, other: Boxes) -> Value:
        """Of each box and the other's at the same place: what they share of what they cover together; 0 of nothing."""
        high = Sub()(Minimum()(self.bottom, other.bottom), Maximum()(self.top, other.top))
        wide = Sub()(Minimum()(self.right, other.right), Maximum()(self.left, other.left))
        shared = Mul()(Maximum()(high, _f32(0)), Maximum()(wide, _f32(0)))
        union = Sub()(Add()(self.area, other.area), shared)
        result: Value = Where()(Greater()(union, _f32(0)), Div()(shared, union), _f32(0))
        return result


def suppressed(op: NonMaxSuppression, node: Node) -> Value:
    """Rows (batch, class, box) of what is taken, a class's best box first"""
    boxes, scores, most, overlap, threshold = node.inputs
    batch, kinds, count = scores.type.shape
    line = Reshape((scores.type.size,))(scores)
    places = positions(Greater()(line, Reshape((1,))(threshold)))
    group = Div()(places, number(count))
    box = Add()(Mod()(places, number(count)), Mul()(Div()(places, number(kinds * count)), number(count)))
    left = Maximum()(Gather(0)(line, places), _f32(float(np.finfo(np.float32).min)))
    row = _boxes(op, boxes).at(box)
    turns = Minimum()(Reshape(())(Cast(dt.i64)(most)), number(count))
    limit = Reshape((1,))(overlap)
    order = _order(left, row, group, limit, turns, batch * kinds)
    rows = _listed(places, order, group, batch * kinds)
    (found,) = rows.type.shape
    image = Div()(rows, number(kinds * count))
    kind = Mod()(Div()(rows, number(count)), number(kinds))
    columns = (image, kind, Mod()(rows, number(count)))
    result: Value = Concat(1)(*(Reshape((found, 1))(one) for one in columns))
    return result


def _boxes(op: NonMaxSuppression, boxes: Value) -> Boxes:
    batch, count, _ = boxes.type.shape
    a, b, c, d = (Reshape((batch * count,))(Slice((0, 0, at), (batch, count, 1), (1, 1, 1))(boxes)) for at in range(4))
    if op.centred:
        half, tall = (Mul()(one, _f32(0.5)) for one in (c, d))
        edges = (Sub()(b, tall), Sub()(a, half), Add()(b, tall), Add()(a, half))
    else:
        edges = (Minimum()(a, c), Minimum()(b, d), Maximum()(a, c), Maximum()(b, d))
    top, left, bottom, right = edges
    return Boxes(*edges, Mul()(Sub()(bottom, top), Sub()(right, left)))


def _order(left: Value, row: Boxes, group: Value, limit: Value, turns: Value, groups: Size) -> Value:
    """At which turn each box is taken, counted from 1; 0 of those that are not."""
    captures = (*row, group, limit)
    body = Graph(name="NonMaxSuppression")
    turn, _ = body.input("turn", Type(dt.i64, ())), body.input("goes", Type(dt.boolean, ()))
    kinds = (left.type, Type(dt.i32, left.type.shape), *(one.type for one in captures))
    scores, order, *rest = (body.input(f"x{at}", Type(one.dtype, one.shape)) for at, one in enumerate(kinds))
    boxes, place, most = Boxes(*rest[:5]), rest[5], rest[6]
    (count,) = scores.type.shape
    best = Gather(0)(_gathered("max", scores, place, groups, NONE), place)
    counting = Iota(0, 1, count, dt.i64)()
    stands = And()(Equal()(scores, best), Greater()(scores, _f32(NONE)))
    first = _gathered("min", Where()(stands, counting, number(count)), place, groups, np.iinfo(np.int64).max)
    chosen = Gather(0)(first, place)
    taken = Equal()(counting, chosen)
    near = Greater()(boxes.overlap(boxes.at(Minimum()(chosen, number(count - 1)))), most)
    after = Where()(Or()(taken, near), _f32(NONE), scores)
    body.set_outputs(
        (_any(after), after, Where()(taken, Cast(dt.i32)(Add()(turn, scalar(1, dt.i64)())), order)),
        ("goes", "scores", "order"),
    )
    none = Fill(left.type.shape, Tensor(np.zeros((), np.int32)))()
    result: Value = Loop(body, 2)(turns, _any(left), left, none, *captures)[1]
    return result


def _gathered(kind: Any, x: Value, place: Value, groups: Size, least: float) -> Value:
    start = Fill((groups,), Tensor(np.array(least, x.type.dtype.numpy)))()
    result: Value = ScatterElements(0, kind)(start, place, x)
    return result


def _any(scores: Value) -> Value:
    result: Value = Reduce("any", (0,), False)(Greater()(scores, _f32(NONE)))
    return result


def _listed(places: Value, order: Value, group: Value, groups: Size) -> Value:
    """The places that were taken: group after group, in the order in which they were."""
    each = _gathered("max", Cast(dt.i64)(order), group, groups, 0)
    before = Gather(0)(Cumulative("sum", 0, exclusive=True)(each), group)
    spot = Sub()(Add()(before, Cast(dt.i64)(order)), scalar(1, dt.i64)())
    return filled(Greater()(order, scalar(0, dt.i32)()), spot, places)


def _f32(value: float) -> Value:
    result: Value = Constant(Tensor(np.array(value, np.float32)))()
    return result
