"""The element types in which sums and the interiors of norms are kept: f32 at least."""

from __future__ import annotations

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.constant import scalar
from tenfold.ops.logic import Cast


def accumulator(dtype: DType) -> DType:
    """The element type in which a sum of such elements is kept."""
    return dt.f32 if dtype.is_float and dtype.bits < 32 else dtype


def wide(value: Value) -> Value:
    """The value in its accumulator's type."""
    target = accumulator(value.type.dtype)
    result: Value = Cast(target)(value) if target is not value.type.dtype else value
    return result


def narrow(value: Value, like: Value) -> Value:
    """The value in the element type of another."""
    result: Value = Cast(like.type.dtype)(value) if value.type.dtype != like.type.dtype else value
    return result


def number(value: float, like: Value) -> Value:
    """A scalar of another value's element type."""
    result: Value = scalar(value, like.type.dtype)()
    return result
