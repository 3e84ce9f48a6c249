"""aten's operators that combine the elements along axes, or order them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tenfold.importers.shorthand import apply, axis_of, cast, measure, number, part, reshaped
from tenfold.importers.torch.math import sub, truth
from tenfold.importers.torch.promote import Operand, floating
from tenfold.importers.torch.tensor import Axes, along_one, axes_of
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ops import arithmetic
from tenfold.ops.arithmetic import Add, Div, Maximum, Mul, Pow, Sqrt, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.logic import Equal, Where
from tenfold.ops.reduce import ArgReduce, Cumulative, Reduce, ReduceKind
from tenfold.ops.sort import TopK

Side = Literal["max", "min"]


def reduced(x: Value, kind: ReduceKind, axes: Axes | None, keepdims: bool = False) -> Value:
    """One reduction over axes; all of them where none is named."""
    return apply(Reduce(kind, axes_of(x, axes), keepdims), x)


def _summable(x: Value, dtype: DType | None) -> Value:
    whole = x.type.dtype.kind in (Kind.INT, Kind.UINT, Kind.BOOL)
    return cast(x, dtype or (dt.i64 if whole else x.type.dtype))


def total(x: Value, axes: Axes | None = None, keepdims: bool = False, *, dtype: DType | None = None) -> Value:
    """The sum; integers become i64."""
    return reduced(_summable(x, dtype), "sum", axes, keepdims)


def product(x: Value, axes: Axes | None = None, keepdims: bool = False, *, dtype: DType | None = None) -> Value:
    """The product; integers become i64."""
    return reduced(_summable(x, dtype), "prod", axes, keepdims)


def mean(x: Value, axes: Axes | None = None, keepdims: bool = False, *, dtype: DType | None = None) -> Value:
    """The mean."""
    return reduced(cast(x, dtype or floating(x.type.dtype)), "mean", axes, keepdims)


def extreme(kind: Side) -> Callable[..., Value]:
    """The greatest or least element."""

    def convert(x: Value, axes: Axes | None = None, keepdims: bool = False) -> Value:
        if x.type.dtype is dt.boolean:
            return reduced(x, "any" if kind == "max" else "all", axes, keepdims)
        return reduced(x, kind, axes, keepdims)

    return convert


def both_extremes(x: Value, *, dim: int | None = None, keepdim: bool = False) -> tuple[Value, Value]:
    """The least and the greatest element."""
    return reduced(x, "min", dim, keepdim), reduced(x, "max", dim, keepdim)


def extreme_with_place(kind: Side) -> Callable[..., tuple[Value, Value]]:
    """The greatest or least element along an axis, and where it is."""

    def convert(x: Value, axis: int, keepdims: bool = False) -> tuple[Value, Value]:
        return extreme(kind)(x, axis, keepdims), place(kind)(x, axis, keepdims)

    return convert


def place(kind: Side) -> Callable[..., Value]:
    """Where the greatest or least element is: along an axis, or in all of x, counted row by row."""

    def convert(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
        y = cast(x, dt.u8) if x.type.dtype is dt.boolean else x
        if axis is None or not x.type.rank:
            found = apply(ArgReduce(kind, 0, False), reshaped(y, (y.type.size,)))
            return reshaped(found, (1,) * x.type.rank) if keepdims else found
        return apply(ArgReduce(kind, axis_of(axis, x.type.rank), keepdims), y)

    return convert


def some(kind: Literal["any", "all"]) -> Callable[..., Value]:
    """Whether any, or every, element is not zero."""

    def convert(x: Value, axes: Axes | None = None, keepdims: bool = False) -> Value:
        return reduced(truth(x), kind, axes, keepdims)

    return convert


def variance(
    x: Value, axes: Axes | bool | None = None, unbiased: Any = None, keepdims: bool = False, *, correction: Any = None
) -> Value:
    """The mean square of what the elements are away from their mean, over n - correction."""
    if isinstance(axes, bool):
        axes, unbiased = None, axes
    less = correction if correction is not None else 1 if unbiased is None or unbiased else 0
    over = axes_of(x, axes)
    wide = cast(x, dt.f32) if x.type.dtype.bits < 32 else x
    centred = apply(Sub(), wide, reduced(wide, "mean", over, True))
    squares = apply(Mul(), centred, centred)
    if less == 0:
        return cast(reduced(squares, "mean", over, keepdims), x.type.dtype)
    count = measure(dim.product(x.type.shape[axis] for axis in over), wide.type.dtype)
    free = apply(Maximum(), apply(Sub(), count, less), 0)
    return cast(apply(Div(), reduced(squares, "sum", over, keepdims), free), x.type.dtype)


def deviation(x: Value, *arguments: Any, **named: Any) -> Value:
    """The root of the variance."""
    return apply(Sqrt(), variance(x, *arguments, **named))


def variance_and_mean(
    x: Value, axes: Axes | None = None, unbiased: Any = None, keepdims: bool = False, **named: Any
) -> tuple[Value, Value]:
    """The variance and the mean."""
    if isinstance(axes, bool):
        return variance(x, axes), mean(x)
    return variance(x, axes, unbiased, keepdims, **named), mean(x, axes, keepdims)


def keepdim_named(convert: Callable[..., Any]) -> Callable[..., Any]:
    """`keepdim` by name, as the overloads with a correction take it."""

    def converted(x: Value, axes: Axes | None = None, *, correction: Any = None, keepdim: bool = False) -> Any:
        return convert(x, axes, None, keepdim, correction=1 if correction is None else correction)

    return converted


def log_sum_exp(x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """log(sum(exp(x)))."""
    return reduced(cast(x, floating(x.type.dtype)), "log_sum_exp", axes, keepdims)


def norm(
    x: Value, order: Any = 2, axes: Axes | None = None, keepdims: bool = False, *, dtype: DType | None = None
) -> Value:
    """The norm of an order over axes."""
    y = cast(x, dtype or x.type.dtype)
    p = 2.0 if order is None else float(order)
    if p in (1.0, 2.0):
        return reduced(y, "l1" if p == 1 else "l2", axes, keepdims)
    size = apply(arithmetic.Abs(), y)
    if math.isinf(p):
        return reduced(size, "max" if p > 0 else "min", axes, keepdims)
    if p == 0:
        return reduced(cast(truth(y), y.type.dtype), "sum", axes, keepdims)
    return apply(Pow(), reduced(apply(Pow(), size, p), "sum", axes, keepdims), 1 / p)


def distance(x: Operand, y: Operand, order: float = 2) -> Value:
    """The norm of a difference."""
    return norm(sub(x, y), order)


def cumulative(kind: Literal["sum", "prod"]) -> Callable[..., Value]:
    """Running sums or products along an axis."""

    def convert(x: Value, axis: int, *, dtype: DType | None = None) -> Value:
        return apply(Cumulative(kind, axis_of(axis, x.type.rank)), _summable(x, dtype))

    return along_one(convert)


def cumulative_extreme(kind: Side) -> Callable[..., tuple[Value, Value]]:
    """The greatest or least element so far, and where it is (the last of equals)."""

    def convert(x: Value, axis: int) -> tuple[Value, Value]:
        at = axis_of(axis, x.type.rank)
        values = apply(Cumulative(kind, at), x)
        shape = tuple(size if a == at else 1 for a, size in enumerate(x.type.shape))
        counted = reshaped(Iota(0, 1, x.type.shape[at])(), shape)
        own = apply(Where(), apply(Equal(), x, values), counted, number(0, counted))
        return values, apply(Cumulative("max", at), own)

    return along_one(convert)


@along_one
def log_cumulative_sum(x: Value, axis: int) -> Value:
    """log(cumsum(exp(x))), shifted by the greatest element."""
    at = axis_of(axis, x.type.rank)
    peak = reduced(x, "max", at, True)
    powers = apply(arithmetic.Exp(), apply(Sub(), x, peak))
    return apply(Add(), apply(arithmetic.Log(), apply(Cumulative("sum", at), powers)), peak)


@along_one
def top(x: Value, count: Size, axis: int = -1, largest: bool = True, ordered: bool = True) -> tuple[Value, Value]:
    """The greatest elements along an axis, and where they are."""
    found: tuple[Value, Value] = TopK(count, axis_of(axis, x.type.rank), largest, ordered)(x)
    return found


@along_one
def sort(x: Value, axis: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """All elements along an axis in order, and where they were."""
    at = axis_of(axis, x.type.rank)
    y = cast(x, dt.u8) if x.type.dtype is dt.boolean else x
    values, places = TopK(x.type.shape[at], at, descending, True)(y)
    return cast(values, x.type.dtype), places


def stable_sort(x: Value, *, stable: Any = None, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """As `sort`, which keeps the order of equals."""
    found: tuple[Value, Value] = sort(x, dim, descending)
    return found


def argsort(x: Value, axis: int = -1, descending: bool = False) -> Value:
    """Where the elements in order were."""
    return stable_sort(x, dim=axis, descending=descending)[1]


@along_one
def kth_value(x: Value, k: Size, axis: int = -1, keepdims: bool = False) -> tuple[Value, Value]:
    """The k-th smallest element along an axis, and where it is."""
    at = axis_of(axis, x.type.rank)
    found = []
    for one in TopK(k, at, False, True)(x):
        last = part(one, at, k - 1, 1)
        found.append(last if keepdims else reshaped(last, [s for a, s in enumerate(last.type.shape) if a != at]))
    return found[0], found[1]


@along_one
def median(x: Value, axis: int | None = None, keepdims: bool = False) -> Any:
    """The lower of the middle elements, of which there is one at least."""
    flat = reshaped(x, (x.type.size,)) if axis is None else x
    size = flat.type.shape[0 if axis is None else axis_of(axis, x.type.rank)]
    found = kth_value(flat, dim.maximum((size + 1) // 2, 1), 0 if axis is None else axis, keepdims)
    return found[0] if axis is None else found


TABLE: Mapping[str, Callable[..., Any]] = {
    "sum": total,
    "prod": product,
    "mean": mean,
    "amax": extreme("max"),
    "amin": extreme("min"),
    "aminmax": both_extremes,
    "max.default": extreme("max"),
    "min.default": extreme("min"),
    "max.dim": extreme_with_place("max"),
    "min.dim": extreme_with_place("min"),
    "argmax": place("max"),
    "argmin": place("min"),
    "any": some("any"),
    "all": some("all"),
    "var.default": variance,
    "var.dim": variance,
    "var.correction": keepdim_named(variance),
    "std.default": deviation,
    "std.dim": deviation,
    "std.correction": keepdim_named(deviation),
    "var_mean.default": variance_and_mean,
    "var_mean.dim": variance_and_mean,
    "var_mean.correction": keepdim_named(variance_and_mean),
    "logsumexp": log_sum_exp,
    "linalg_vector_norm": norm,
    "dist": distance,
    "norm.ScalarOpt_dim": norm,
    "norm.Scalar": norm,
    "cumsum": cumulative("sum"),
    "cumprod": cumulative("prod"),
    "logcumsumexp": log_cumulative_sum,
    "cummax": cumulative_extreme("max"),
    "cummin": cumulative_extreme("min"),
    "topk": top,
    "sort.default": sort,
    "sort.stable": stable_sort,
    "argsort.default": argsort,
    "kthvalue": kth_value,
    "median.default": median,
    "median.dim": median,
}
