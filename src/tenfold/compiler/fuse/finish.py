"""What follows a reduction element by element, in the shape that its rows have: so that it joins their kernel."""

from __future__ import annotations

from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.movement import Reshape
from tenfold.ops.primitive import Copy
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.rule import Replacement, rule


@rule(
    """graph (%x: f32[2, 3, 4], %y: f32[3]) {
      return Add(Reshape<shape=(2, 3)>(Reduce<kind="sum", axes=(2,), keepdims=true>(%x)), %y)
    }""",
    """graph (%x: f32[2, 3, 4], %y: f32[5, 2, 3]) {
      return Add(Reshape<shape=(2, 3)>(Reduce<kind="sum", axes=(2,), keepdims=true>(%x)), %y)
    }""",
)
def finish_rows(value: Value) -> Replacement:
    """f(reshape(rows), y) -> reshape(f(rows, y)), where the reshape leaves out the axes of the rows"""
    if not isinstance(value.op, Elementwise) or isinstance(value.op, Copy):
        return None
    for one in value.inputs:
        axes = _left_out(one)
        if axes and one.type.shape == value.type.shape:
            rows, rank = one.inputs[0], len(axes) + value.type.rank
            operands = [rows if other is one else _beside(other, axes, rank) for other in value.inputs]
            return Reshape(value.type.shape)(value.op(*operands))
    return None


def _left_out(value: Value) -> tuple[int, ...]:
    """The axes of rows that a reshape leaves out of what is computed of them; none if it does not."""
    match value:
        case Value(Reshape(shape), (inner,)) if used_once(value):
            axes = _row_axes(inner)
            kept = tuple(size for axis, size in enumerate(inner.type.shape) if axis not in axes)
            return axes if kept == shape and len(shape) < inner.type.rank else ()
    return ()


def _row_axes(value: Value) -> tuple[int, ...]:
    """The axes of the reduction that a value is computed from, element by element; none if there is no such."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one.op, Reduce):
            return tuple(sorted(one.op.axes)) if one.op.keepdims else ()
        if isinstance(one.op, Elementwise):
            waiting += [other for other in one.inputs if other.type.shape == value.type.shape]
    return ()


def _beside(value: Value, axes: tuple[int, ...], rank: int) -> Value:
    """A value that broadcasts against rows without those axes, against rows with them."""
    if value.type.rank == 0:
        return value
    sizes = list((1,) * (rank - len(axes) - value.type.rank) + value.type.shape)
    shape: list[Size] = []
    for axis in range(rank):
        shape.append(1 if axis in axes else sizes.pop(0))
    found: Value = Reshape(tuple(shape))(value)
    return found
