"""In which element type an operation computes what it is given narrower."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.op import Array
from tenfold.ir.type import Type


def accumulator(dtype: DType) -> DType:
    """What sums of that type are kept in: f32 for narrower floats, i32 for narrower integers, else the type itself."""
    if dtype.is_float and dtype.bits < 32:
        return dt.f32
    if dtype.is_integer and dtype.bits < 32:
        return dt.i32
    return dtype


def widen(x: Array) -> Array:
    """`x` in the type that its sums are kept in."""
    return x.astype(accumulator(dt.of(x.dtype)).numpy, copy=False)


def require_float(operation: str, *inputs: Type) -> DType:
    """The one floating-point type of these inputs; ValueError if they differ or are something else."""
    found = {one.dtype for one in inputs}
    if len(found) != 1 or inputs[0].dtype.kind is not Kind.FLOAT:
        came = ", ".join(sorted(map(str, found)))
        raise ValueError(f"{operation} takes inputs of one floating-point type, not {came}")
    return inputs[0].dtype


def product_dtype(operation: str, x: Type, w: Type) -> DType:
    """The element type of a contraction of x and w: theirs, and i32 for integers narrower than that.

    ValueError if they differ, unless both are narrow integers.
    """
    if x.dtype == w.dtype and (x.dtype.is_float or x.dtype.is_integer):
        return x.dtype if x.dtype.is_float else accumulator(x.dtype)
    if x.dtype.is_integer and w.dtype.is_integer and max(x.dtype.bits, w.dtype.bits) < 32:
        return dt.i32
    raise ValueError(f"{operation} takes inputs of one numeric type, not {x.dtype} and {w.dtype}")


def contract(x: Array, w: Array) -> Array:
    """x @ w over stacked matrices, accumulated wide; the caller narrows the result."""
    return np.asarray(np.matmul(widen(x), widen(w)))
