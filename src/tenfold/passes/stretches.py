"""Long sums for few results in stretches that threads share, and a sum of what the stretches give.

Into how many follows from the sizes alone, so that results depend on no number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Transpose
from tenfold.ops.reduce import Reduce, ReduceKind
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.rule import Replacement, rule

_MOST = 16
"""The most stretches."""
_TERMS = 2048
"""The terms of a stretch of products; of sums half as long it makes two."""
_WORTH = 1 << 18
"""Multiplications and additions that are worth being shared."""
_SIDE, _TILE = 256, 16
"""More rows or columns than these give threads enough to share; of a constant, which need not be packed, more tiles of
so many of both than a few.
"""
_FEW = 4
_ELEMENTS = 1 << 17
"""The elements of a sum that takes so long that it is shared."""
_LINE = 64
"""Neighbouring results that one thread sums side by side."""
_DEEP = 64
"""The most operations of elements, one behind another, that are computed in stretches with their sum."""
_AGAIN: Mapping[str, ReduceKind] = {
    "sum": "sum", "mean": "mean", "max": "max", "min": "min", "sum_square": "sum", "l1": "sum", "l2": "l2"
}  # fmt: skip
"""How what the stretches give is combined."""


@rule(
    """graph (%a: f32[16, 4096], %b: f32[4096, 8]) { return MatMul(%a, %b) }""",
    """graph (%a: f32[16, 1000], %b: f32[1000, 8]) { return MatMul(%a, %b) }""",
)
def product_in_stretches(value: Value) -> Replacement:
    """a b -> sum(a[:, s] b[s, :] of each stretch s of the terms), where there are few results of many terms"""
    match value:
        case Value(MatMul(), (a, b)) if a.type.rank > 1 and b.type.rank > 1 and value.type.dtype in (dt.f32, dt.f64):
            count = _stretches(a.type, value.type, isinstance(b.op, Constant))
            if count is None:
                return None
            (*front, rows, terms), (*other, _, columns) = a.type.shape, b.type.shape
            each, rank = cast(int, terms) // count, a.type.rank
            cut: Value = Reshape((*front, rows, count, each))(a)
            turned = Transpose((*range(rank - 2), rank - 1, rank - 2, rank))(cut)
            sums = MatMul()(turned, Reshape((*other, count, each, columns))(b))
            return Reduce("sum", (sums.type.rank - 3,), False)(sums)
    return None


@rule(
    """graph (%x: f32[2, 131072]) { return Reduce<kind='l2', axes=(1,), keepdims=true>(Relu(%x)) }""",
    """graph (%x: f32[2, 65536]) { return Reduce<kind='l2', axes=(1,), keepdims=true>(Relu(%x)) }""",
)
def sum_in_stretches(value: Value) -> Replacement:
    """sum(x, axis) -> sum(sum of each stretch of x along the axis), and so on, where there are few results"""
    match value:
        case Value(Reduce(kind, axes, _), (x,)) if kind in _AGAIN and x.type.dtype in (dt.f32, dt.f64) and axes:
            sizes = _known(x.type.shape)
            axis = max(axes, key=lambda one: sizes[one]) if sizes else 0
            count = _shared(sizes, axes, axis) if sizes else None
            if count is None or _deep(x):
                return None
            moved = tuple(one + (one >= axis) for one in axes if one != axis)
            sums = Reduce(kind, (*moved, axis + 1), True)(_cut(x, x.type.rank, axis, count))
            whole: Value = Reduce(_AGAIN[kind], (axis,), True)(sums)
            return Reshape(value.type.shape)(whole)
    return None


def _known(sizes: Sequence[Size]) -> list[int]:
    """Sizes that are all known and not 0, or none."""
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    return known if len(known) == len(sizes) else []


def _stretches(a: Type, result: Type, constant: bool) -> int | None:
    """Into how many stretches a product's terms are cut; None for none at all."""
    sizes, (terms,) = _known(result.shape), _known(a.shape[-1:]) or (0,)
    if not sizes or 2 * math.prod(sizes) * terms < _WORTH or terms < _TERMS // 2:
        return None
    *batch, rows, columns = sizes
    if math.prod(batch) > 1 or max(rows, columns) > _SIDE:
        return None
    tiles = -(-rows // _TILE) * -(-columns // _TILE)
    if constant and tiles > 1 and (tiles > _FEW or terms < 2 * _TERMS):
        return None
    return _divisor(terms, max(2, min(_MOST, terms // _TERMS)))


def _shared(sizes: Sequence[int], axes: Sequence[int], axis: int) -> int | None:
    """Into how many stretches an axis of sums is cut; None for none at all."""
    terms = math.prod(sizes[one] for one in axes)
    results = math.prod(sizes) // terms
    parts = results if len(sizes) - 1 in axes else -(-results // _LINE)
    longer = terms * (results // parts)
    return _divisor(sizes[axis], _MOST // parts) if parts < _MOST and longer >= _ELEMENTS else None


def _divisor(size: int, wanted: int) -> int | None:
    """The greatest divisor of a size that is at most `wanted`, or the next up to twice as great; None for 1 alone."""
    found = [one for one in range(2, min(2 * wanted, size) + 1) if size % one == 0]
    return max((one for one in found if one <= wanted), default=found[0] if found else None)


def _fused(value: Value) -> bool:
    return bool(value.op and value.op.elementwise and used_once(value))


def _deep(value: Value, most: int = _DEEP) -> bool:
    """Whether more operations than that follow one another ahead of a sum."""
    return not most or (_fused(value) and any(_deep(one, most - 1) for one in value.inputs))


def _cut(value: Value, rank: int, axis: int, count: int) -> Value:
    """A value with an axis in stretches; what is computed of elements alone is computed so, for fusion to see."""
    place = axis - (rank - value.type.rank)
    if place < 0:
        return value
    shape = value.type.shape
    if value.op and _fused(value):
        return value.op(*(_cut(one, rank, axis, count) for one in value.inputs))
    size = shape[place]
    stretches = (1, 1) if size == 1 else (count, cast(int, size) // count)
    cut: Value = Reshape((*shape[:place], *stretches, *shape[place + 1 :]))(value)
    return cut


IN_STRETCHES = (product_in_stretches, sum_in_stretches)
