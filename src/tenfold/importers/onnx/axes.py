"""Axes that a model names by an operand: known, or formulas of what the operand will hold.

Where all are known the formulas are plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenfold.importers.shorthand import apply, cast, measure, number, reshaped
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Log, Mul, Sqrt, Sub
from tenfold.ops.logic import IsInf, Where
from tenfold.ops.movement import Expand
from tenfold.ops.precision import accumulator
from tenfold.ops.reduce import Reduce, ReduceKind


def integers(sizes: Sequence[Size]) -> tuple[int, ...] | None:
    """The sizes, where every one is a plain integer; else None."""
    found = tuple(size for size in sizes if isinstance(size, int))
    return found if len(found) == len(sizes) else None


def among(at: Size, axes: Sequence[Size]) -> Size:
    """1 if `at` is one of the axes, else 0."""
    return dim.minimum(1, dim.total(dim.equal(axis, at) for axis in axes))


def chosen(axis: Size, options: Sequence[Size], otherwise: Size = 0) -> Size:
    """options[axis]; `otherwise` where there is none of that number."""
    found = otherwise
    for at, option in enumerate(options):
        found = dim.select(dim.equal(axis, at), option, found)
    return found


def placed(axes: Sequence[Size], given: Sequence[Size], defaults: Sequence[Size]) -> tuple[Size, ...]:
    """One size an axis: what `given` says where `axes` names it, else its default."""
    found = list(defaults)
    for axis, size in zip(axes, given, strict=True):
        found = [dim.select(dim.equal(axis, at), size, before) for at, before in enumerate(found)]
    return tuple(found)


def without(sizes: Sequence[Size], axes: Sequence[Size]) -> tuple[Size, ...]:
    """The sizes without those of the axes, which are all different."""
    gone = [among(at, axes) for at in range(len(sizes))]
    numbers = [at - dim.total(gone[:at]) for at in range(len(sizes))]
    return tuple(
        dim.total(
            dim.select(dim.logical_and(dim.logical_not(drop), dim.equal(number, at)), size, 0)
            for drop, number, size in zip(gone, numbers, sizes, strict=True)
        )
        for at in range(len(sizes) - len(axes))
    )


def with_ones(sizes: Sequence[Size], axes: Sequence[Size]) -> tuple[Size, ...]:
    """The sizes with 1 at the places of the result that the axes name, which are all different."""
    new = [among(at, axes) for at in range(len(sizes) + len(axes))]
    return tuple(dim.select(one, 1, chosen(at - dim.total(new[:at]), sizes, 1)) for at, one in enumerate(new))


def different(axes: Sequence[Size]) -> Size:
    """1 if no two axes are the same, else 0."""
    return dim.equal(dim.total(dim.equal(axis, other) for at, axis in enumerate(axes) for other in axes[:at]), 0)


def along(x: Value, axis: Size, step: Callable[[Value], Value], behind: int = 0) -> Value:
    """`step` along one axis of x, which sees it as axis 1 of [before, axis, after, *the last `behind` axes].

    It may change the sizes of its axis and of those behind.
    """
    rank = x.type.rank - behind
    sizes, rest = x.type.shape[:rank], x.type.shape[rank:]
    before = dim.product(dim.select(dim.less(at, axis), size, 1) for at, size in enumerate(sizes))
    after = dim.product(dim.select(dim.less(axis, at), size, 1) for at, size in enumerate(sizes))
    y = step(reshaped(x, (before, chosen(axis, sizes), after, *rest)))
    shape = [dim.select(dim.equal(axis, at), y.type.shape[1], size) for at, size in enumerate(sizes)]
    return reshaped(y, (*shape, *y.type.shape[3:]))


def reduced(x: Value, kind: ReduceKind, axes: Sequence[Size], keepdims: bool) -> Value:
    """Reduce along axes that the operand names, one after another, in the type that sums are kept in."""
    sizes, wide = x.type.shape, cast(x, accumulator(x.type.dtype) if x.type.dtype.is_float else x.type.dtype)
    y = _within(wide, kind, axes)
    return reshaped(cast(y, x.type.dtype), y.type.shape if keepdims else without(sizes, axes))


def _within(x: Value, kind: ReduceKind, axes: Sequence[Size]) -> Value:
    match kind:
        case "mean":
            count = dim.product(chosen(axis, x.type.shape) for axis in axes)
            return apply(Div(), _one_by_one(x, "sum", axes), measure(count, x.type.dtype))
        case "sum_square":
            return _one_by_one(apply(Mul(), x, x), "sum", axes)
        case "l1":
            return _one_by_one(Abs()(x), "sum", axes)
        case "l2":
            return apply(Sqrt(), _one_by_one(apply(Mul(), x, x), "sum", axes))
        case "log_sum":
            return apply(Log(), _one_by_one(x, "sum", axes))
        case "log_sum_exp":
            peak = _one_by_one(x, "max", axes)
            shift = apply(Where(), IsInf()(peak), number(0, x), peak)
            powers = Exp()(apply(Sub(), x, Expand(x.type.shape)(shift)))
            return apply(Add(), apply(Log(), _one_by_one(powers, "sum", axes)), shift)
    return _one_by_one(x, kind, axes)


def _one_by_one(x: Value, kind: ReduceKind, axes: Sequence[Size]) -> Value:
    for axis in axes:
        x = along(x, axis, Reduce(kind, (1,)))
    return x
