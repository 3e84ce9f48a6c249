"""Sizes followed through floating point: models scale sizes by 0.5, round, and cast back.

A small floating-point value is followed as fractions of sizes. Only steps whose result is exactly what f32
arithmetic gives are followed: factors with at most 10 bits over a power of two, and roundings of such products.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tenfold.importers.convert import constant
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import ENTRIES_LIMIT, Type
from tenfold.ops import arithmetic, logic, movement
from tenfold.ops.elementwise import spread

MOST_BITS = 10
DEEPEST = 12


@dataclass(frozen=True)
class Ratio:
    """top / bottom, with a positive power of two below."""

    top: Size
    bottom: int = 1


def followed(value: Value) -> tuple[Size, ...] | None:
    """The contents of a small tensor as sizes, rounded toward zero where they may have fractions; None if unknown."""
    if value.type.entries is not None:
        return value.type.entries
    found = ratios(value)
    if found is None:
        return None
    return tuple(one.top if one.bottom == 1 else dim.truncdiv(one.top, one.bottom) for one in found)


def ratios(value: Value, depth: int = DEEPEST) -> tuple[Ratio, ...] | None:
    """The contents of a small tensor as fractions of sizes, row-major; None where they cannot be followed exactly."""
    if value.type.entries is not None:
        return tuple(Ratio(one) for one in value.type.entries)
    count = value.type.size
    if depth == 0 or value.producer is None or not isinstance(count, int) or count > ENTRIES_LIMIT:
        return None
    if not value.type.is_static or value.type.dtype not in (dt.f32, dt.f64):
        return None
    if not value.inputs:
        return _constant(value)
    if isinstance(value.op, movement.Movement):
        return _moved(value, value.op, depth)
    step = _STEPS.get(type(value.producer.op))
    return None if step is None else _applied(value, step, depth)


def _constant(value: Value) -> tuple[Ratio, ...] | None:
    array = constant(value)
    found = [] if array is None else [_dyadic(float(one)) for one in array.ravel()]
    return None if array is None or None in found else tuple(one for one in found if one is not None)


def _dyadic(number: float) -> Ratio | None:
    if not math.isfinite(number) or abs(number) >= 2**24:
        return None
    exact = Fraction(number)
    odd = abs(exact.numerator) // (exact.numerator & -exact.numerator) if exact.numerator else 0
    return Ratio(exact.numerator, exact.denominator) if max(odd, exact.denominator) < 2**MOST_BITS else None


def _moved(value: Value, op: Op, depth: int) -> tuple[Ratio, ...] | None:
    data = [one for one in value.inputs if one.type.dtype == value.type.dtype]
    others = [constant(one) for one in value.inputs[len(data) :]]
    pools = [ratios(one, depth - 1) for one in data]
    if value.producer is None or any(one is None for one in (*others, *pools)) or isinstance(op, movement.Pad):
        return None
    pool = list(itertools.chain.from_iterable(one for one in pools if one is not None))
    starts = itertools.accumulate((len(one) for one in pools if one is not None), initial=0)
    shapes = [tuple(size for size in one.type.shape if isinstance(size, int)) for one in data]
    labels = [np.arange(at, at + math.prod(shape)).reshape(shape) for at, shape in zip(starts, shapes, strict=False)]
    moved = op.results((*labels, *(one for one in others if one is not None)))[value.index]
    return tuple(pool[int(label)] for label in moved.ravel())


def _applied(value: Value, step: Callable[..., Ratio | None], depth: int) -> tuple[Ratio, ...] | None:
    columns: list[list[Ratio]] = []
    for one in value.inputs:
        found = ratios(one, depth - 1)
        if found is None:
            return None
        places = spread(Type(dt.i64, one.type.shape, tuple(range(len(found)))), value.type.shape)
        columns.append([found[place] for place in places if isinstance(place, int)])
    results = [step(*row) for row in zip(*columns, strict=True)]
    return None if None in results else tuple(one for one in results if one is not None)


def _add(a: Ratio, b: Ratio) -> Ratio:
    bottom = max(a.bottom, b.bottom)
    return Ratio(a.top * (bottom // a.bottom) + b.top * (bottom // b.bottom), bottom)


def _sub(a: Ratio, b: Ratio) -> Ratio:
    return _add(a, Ratio(-b.top, b.bottom))


def _mul(a: Ratio, b: Ratio) -> Ratio:
    return Ratio(a.top * b.top, a.bottom * b.bottom)


def _div(a: Ratio, b: Ratio) -> Ratio | None:
    top, bottom = a.top * b.bottom, b.top * a.bottom
    exact = None if bottom == 0 else dim.divide_exact(top, bottom)
    if exact is not None:
        return Ratio(exact)
    return Ratio(top, bottom) if isinstance(bottom, int) and bottom > 0 and bottom & (bottom - 1) == 0 else None


_STEPS: Mapping[type[Op], Callable[..., Ratio | None]] = {
    arithmetic.Add: _add,
    arithmetic.Sub: _sub,
    arithmetic.Mul: _mul,
    arithmetic.Div: _div,
    arithmetic.Neg: lambda a: Ratio(-a.top, a.bottom),
    arithmetic.Floor: lambda a: Ratio(a.top // a.bottom),
    arithmetic.Ceil: lambda a: Ratio(dim.ceildiv(a.top, a.bottom)),
    logic.Cast: lambda a: a,
}
