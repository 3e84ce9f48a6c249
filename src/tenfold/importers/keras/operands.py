"""What operations of keras.ops are applied to: values and plain numbers under Keras's rules of common types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenfold.importers.keras.layer import Layer
from tenfold.importers.shorthand import axis_of, cast, constant
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.constant import scalar

_SIGNED = (dt.i8, dt.i16, dt.i32, dt.i64)
_UNSIGNED = (dt.u8, dt.u16, dt.u32, dt.u64)


def common(a: DType, b: DType) -> DType:
    """The type of what two tensors give: floats before integers before booleans, each kind's wider."""
    if a == b or b is dt.boolean:
        return a
    if a is dt.boolean:
        return b
    if a.is_float or b.is_float:
        return _floats(a, b)
    if (a in _SIGNED) == (b in _SIGNED):
        return a if a.bits >= b.bits else b
    signed, other = (a, b) if a in _SIGNED else (b, a)
    if signed.bits > other.bits:
        return signed
    return dt.f32 if other.bits == 64 else _SIGNED[_UNSIGNED.index(other) + 1]


def _floats(a: DType, b: DType) -> DType:
    if not (a.is_float and b.is_float):
        return a if a.is_float else b
    if {a, b} == {dt.f16, dt.bf16}:
        return dt.f32
    return a if a.bits >= b.bits else b


def with_number(a: DType, number: Any) -> DType:
    """The type of what a tensor and a plain number give."""
    if isinstance(number, bool) or a.is_float:
        return a
    if isinstance(number, float):
        return dt.f32
    return dt.i32 if a is dt.boolean else a


def alike(*operands: Any) -> list[Value]:
    """Operands as values of their common type."""
    values = [one for one in operands if isinstance(one, Value)]
    kind = values[0].type.dtype if values else dt.f32
    for one in values[1:]:
        kind = common(kind, one.type.dtype)
    for one in operands:
        if not isinstance(one, Value):
            kind = with_number(kind, _sample(one))
    return [as_value(one, kind) for one in operands]


def _sample(one: Any) -> Any:
    array = np.asarray(one)
    return array.ravel()[0].item() if array.size else 0


def as_value(one: Any, kind: DType) -> Value:
    """A value, a number or nested lists of them, as a tensor of that type."""
    if isinstance(one, Value):
        return cast(one, kind)
    if isinstance(one, list | tuple):
        return constant(np.asarray(one, kind.numpy))
    found: Value = scalar(one, kind)()
    return found


def real(x: Value) -> Value:
    """x as it is if it holds floats, else in f32."""
    return x if x.type.dtype.is_float else cast(x, dt.f32)


def axes_of(layer: Layer, x: Value, name: str = "axis") -> tuple[int, ...]:
    """The axes that an operation is for: all of them where it states none."""
    stated = layer.config.get(name)
    if stated is None:
        return tuple(range(x.type.rank))
    return layer.axes(name, x.type.rank)


def axis(layer: Layer, x: Value, default: int = -1, name: str = "axis") -> int:
    """The one axis that an operation is for."""
    return axis_of(layer.integer(name, default), x.type.rank)


def numbers(found: Any) -> tuple[int, ...]:
    """A whole number, or several."""
    listed: Sequence[Any] = found if isinstance(found, list | tuple) else [found]
    if not all(type(one) is int for one in listed):
        raise ValueError(f"{found!r} are no whole numbers")
    return tuple(listed)
