"""What has sizes that only the data decide, in operations that kernels know: everything is computed in buffers as large
as it can get, and what was filled of them is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Node, Value, inline
from tenfold.ir.interpret import bind
from tenfold.ir.substitute import substitute
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Div, Mod, Sub
from tenfold.ops.constant import Constant, Fill, Iota, Sizes, scalar
from tenfold.ops.dynamic import Deferred, Head, Known
from tenfold.ops.index import Compress, Gather, NonZero, ScatterElements
from tenfold.ops.logic import Cast, NotEqual, Where
from tenfold.ops.movement import Concat, Reshape, Slice
from tenfold.ops.reduce import Cumulative, Reduce
from tenfold.ops.sort import NonMaxSuppression, Suppression

PLAIN = (dt.boolean, dt.i8, dt.u8, dt.i16, dt.u16, dt.i32, dt.u32, dt.i64, dt.f16, dt.bf16, dt.f32, dt.f64)
"""Element types that compare with zero."""


def nonzero(op: NonZero, node: Node) -> Value | None:
    """The places that are not zero, taken apart into coordinates"""
    (x,) = node.inputs
    if x.type.dtype not in PLAIN or x.type.rank == 0:
        return None
    zero = Constant(Tensor(np.zeros((), x.type.dtype.numpy)))()
    flags = x if x.type.dtype is dt.boolean else NotEqual()(x, zero)
    places = positions(Reshape((x.type.size,))(flags))
    (count,) = places.type.shape
    rows = []
    for axis, size in enumerate(x.type.shape):
        step = dim.product(x.type.shape[axis + 1 :])
        row = places if step == 1 else Div()(places, number(step))
        rows.append(Reshape((1, count))(row if axis == 0 else Mod()(row, number(size))))
    result: Value = Concat(0)(*rows)
    return result


def compress(op: Compress, node: Node) -> Value | None:
    """The slices at the places where the condition holds"""
    x, condition = node.inputs
    if x.type.dtype.is_object or x.type.dtype.kind is Kind.COMPLEX:
        return None
    size = dim.minimum(condition.type.shape[0], x.type.shape[op.axis])
    result: Value = Gather(op.axis)(x, positions(Slice((0,), (size,), (1,))(condition)))
    return result


def positions(flags: Value) -> Value:
    """The places at which a bool vector is true, ascending: each is written where the count of those before it says."""
    (size,) = flags.type.shape
    return filled(flags, ranks(flags), Iota(0, 1, size, dt.i64)())


def ranks(flags: Value) -> Value:
    """How many are true before each that is."""
    result: Value = Sub()(Cumulative("sum", 0)(Cast(dt.i64)(flags)), scalar(1, dt.i64)())
    return result


def filled(flags: Value, places: Value, values: Value) -> Value:
    """Those of the values whose flag is set, each at its place of a vector that holds just these."""
    (size,) = flags.type.shape
    room = Fill((size + 1,), Tensor(np.zeros((), values.type.dtype.numpy)))()
    full = ScatterElements(0)(room, Where()(flags, places, number(size)), values)
    result: Value = Head()(full, Reduce("sum", (0,), False)(Cast(dt.i64)(flags)))
    return result


def number(size: Size) -> Value:
    """A size as an i64."""
    made: Value = scalar(size, dt.i64)() if isinstance(size, int) else Sizes((size,), ())()
    return made


def deferred(op: Deferred, node: Node) -> tuple[Value, ...] | None:
    """The graph itself, once the contents of its small inputs are known"""
    if any(one.type.dtype.is_object for one in node.inputs):
        return None
    given: list[Value] = []
    learned: dict[str, Size] = {}
    for formal, actual in zip(op.body.inputs, node.inputs, strict=True):
        known = Known()(actual) if formal.type.entries else actual
        given.append(known)
        for a, b in zip(formal.type.entries or (), known.type.entries or (), strict=False):
            learned |= {name: b for name in dim.symbols(a)}
    results = inline(op.body, given, lambda one: bind(one, learned))
    read_back = [value.producer for value in given if isinstance(value.op, Known) and value.producer]
    for result in results:
        if result.producer is None or result in given:
            return None
        result.producer.after += tuple(read_back)
    for one in read_back:
        one.source = node.source
    if node.graph and op.body.assumptions:
        bound = ((substitute(condition, learned), who) for condition, who in op.body.assumptions)
        node.graph.assumptions = (*node.graph.assumptions, *bound)
    return tuple(results)


def suppressed(op: NonMaxSuppression, node: Node) -> Value:
    """The rows of a table as long as it can get that are filled"""
    boxes, scores, *limits = node.inputs
    most, overlap, threshold = (Reshape(())(one) for one in limits)
    count = scores.type.shape[2]
    (stated,) = limits[0].type.entries or (count,)
    wanted = count if isinstance(stated, Dim) and stated.data_dependent else stated
    room = dim.minimum(dim.maximum(wanted, 0), count)
    result: Value = Head()(*Suppression(room, op.centred)(boxes, scores, Cast(dt.i64)(most), overlap, threshold))
    return result


RULES: dict[type, Callable[[Any, Node], Value | tuple[Value, ...] | None]] = {
    NonZero: nonzero,
    Compress: compress,
    Deferred: deferred,
    NonMaxSuppression: suppressed,
}
