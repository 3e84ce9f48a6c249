"""Images that a model lays channels last: transposes sink below what is done to them, until they meet and cancel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.movement import Concat, Pad, Reshape, Transpose
from tenfold.rewrite.rule import Replacement, rule

_LEAST_RANK = 4


@rule(
    """graph (%x: f32[2, 3, 4, 5], %y: f32[2, 3, 4, 5]) {
      %s = Transpose<permutation=(0, 2, 3, 1)>(%x)
      %t = Transpose<permutation=(0, 2, 3, 1)>(%y)
      return Add(Mul(%s, f32[3]{1, 2, 3}), %t)
    }""",
    """graph (%x: f32[2, 3, 4, 5], %y: f32[2, 4, 5, 3]) {
      %s = Transpose<permutation=(0, 2, 3, 1)>(%x)
      return Add(%s, %y)
    }""",
)
def sink_elementwise(value: Value) -> Replacement:
    """f(last(x), last(y), c) -> last(f(x, y, first(c))), where last moves the channels to the end"""
    if not isinstance(value.op, Elementwise) or value.type.rank < _LEAST_RANK:
        return None
    operands = _first(value.inputs, value.type.rank)
    return None if operands is None else _last(value.op(*operands))


@rule(
    """graph (%x: f32[2, 3, 4, 5], %y: f32[2, 2, 4, 5]) {
      %s = Transpose<permutation=(0, 2, 3, 1)>(%x)
      %t = Transpose<permutation=(0, 2, 3, 1)>(%y)
      return Concat<axis=3>(%s, %t)
    }""",
    """graph (%x: f32[2, 3, 4, 5], %y: f32[2, 2, 5, 3]) {
      %s = Transpose<permutation=(0, 2, 3, 1)>(%x)
      return Concat<axis=1>(%s, %y)
    }""",
)
def sink_concat(value: Value) -> Replacement:
    """concat(last(x), last(y)) -> last(concat(x, y))"""
    match value:
        case Value(Concat(axis)) if value.type.rank >= _LEAST_RANK:
            operands = _first(value.inputs, value.type.rank)
            return None if operands is None else _last(Concat(_order(value.type.rank)[axis])(*operands))
    return None


@rule(
    """graph (%x: f32[2, 3, 4, 5]) {
      return Pad<before=(0, 1, 2, 0), after=(0, 1, 0, 0)>(Transpose<permutation=(0, 2, 3, 1)>(%x))
    }""",
    """graph (%x: f32[2, 3, 4, 5]) {
      return Pad<before=(0, 1, 2, 0), after=(0, 1, 0, 0)>(Transpose<permutation=(0, 3, 2, 1)>(%x))
    }""",
)
def sink_pad(value: Value) -> Replacement:
    """pad(last(x), a) -> last(pad(x, first(a)))"""
    match value:
        case Value(Pad(before, after, mode, fill)) if value.type.rank >= _LEAST_RANK:
            operands = _first(value.inputs, value.type.rank)
            back = np.argsort(_order(value.type.rank))
            low, high = (tuple(ends[at] for at in back) for ends in (before, after))
            return None if operands is None else _last(Pad(low, high, mode, fill)(*operands))
    return None


def _order(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)


def _last(x: Value) -> Value:
    found: Value = Transpose(_order(x.type.rank))(x)
    return found


def _first(values: Sequence[Value], rank: int) -> list[Value] | None:
    """The values with their channels first, if that takes nothing but leaving transposes out and moving constants."""
    order = _order(rank)
    back = tuple(int(at) for at in np.argsort(order))
    found, moved = [], 0
    for one in values:
        match one:
            case Value(Transpose(permutation), (x,)) if permutation == order:
                found.append(x)
                moved += 1
            case Value(Constant()) if 0 < one.type.rank <= rank:
                shape = (1,) * (rank - one.type.rank) + one.type.shape
                found.append(Transpose(back)(one if one.type.rank == rank else Reshape(shape)(one)))
            case Value(Constant()):
                found.append(one)
            case _:
                return None
    return found if moved else None


CHANNELS = (sink_elementwise, sink_concat, sink_pad)
