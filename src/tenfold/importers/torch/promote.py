"""Element types as PyTorch chooses them: its names for them, and what operands of several types become."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import cast, measure
from tenfold.importers.torch.fraction import Quotient
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ops.constant import scalar

Number = bool | int | float | Dim | Quotient
Operand = Value | Number

_BY_TORCH: dict[Any, DType] = {
    torch.float64: dt.f64,
    torch.float32: dt.f32,
    torch.float16: dt.f16,
    torch.bfloat16: dt.bf16,
    torch.float8_e4m3fn: dt.f8e4m3fn,
    torch.float8_e4m3fnuz: dt.f8e4m3fnuz,
    torch.float8_e5m2: dt.f8e5m2,
    torch.float8_e5m2fnuz: dt.f8e5m2fnuz,
    torch.int64: dt.i64,
    torch.int32: dt.i32,
    torch.int16: dt.i16,
    torch.int8: dt.i8,
    torch.uint64: dt.u64,
    torch.uint32: dt.u32,
    torch.uint16: dt.u16,
    torch.uint8: dt.u8,
    torch.bool: dt.boolean,
    torch.complex64: dt.c64,
    torch.complex128: dt.c128,
}

_RANKS = {Kind.BOOL: 0, Kind.UINT: 1, Kind.INT: 1, Kind.FLOAT: 2, Kind.COMPLEX: 3}


def dtype_of(found: Any) -> DType:
    """Our name of one of PyTorch's element types; UnsupportedError for one that we do not have."""
    if found not in _BY_TORCH:
        raise UnsupportedError(f"elements of type {found}", remedy="convert the module to another type")
    return _BY_TORCH[found]


def torch_dtype(dtype: DType) -> Any:
    """PyTorch's name of one of our element types."""
    return next(found for found, own in _BY_TORCH.items() if own is dtype)


def wider(a: DType, b: DType) -> DType:
    """What two element types of tensors become together (torch.promote_types)."""
    if a is b or _RANKS[a.kind] != _RANKS[b.kind]:
        return a if _RANKS[a.kind] >= _RANKS[b.kind] else b
    if a.is_float:
        return dt.f32 if a.bits == b.bits else a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.kind is Kind.INT else (b, a)
    if signed.kind is unsigned.kind or signed.bits > unsigned.bits:
        return a if a.bits > b.bits else b
    return {8: dt.i16, 16: dt.i32}.get(unsigned.bits, dt.i64)


def joined(*operands: Operand) -> DType:
    """What operands become together: a number, or a tensor of rank 0, counts only by its kind
    (torch.result_type).
    """
    tensors = [one.type for one in operands if isinstance(one, Value)]
    shaped = _all(type.dtype for type in tensors if type.rank)
    single = _all(type.dtype for type in tensors if not type.rank)
    plain = _all(_of_number(one) for one in operands if not isinstance(one, Value))
    found = _ranked(shaped, _ranked(single, plain))
    return found or dt.f32


def _of_number(number: Number) -> DType:
    if isinstance(number, bool):
        return dt.boolean
    return dt.f32 if isinstance(number, float | Quotient) else dt.i64


def _all(types: Iterable[DType]) -> DType | None:
    found = list(types)
    return reduce(wider, found) if found else None


def _ranked(first: DType | None, second: DType | None) -> DType | None:
    if first is None or second is None:
        return first or second
    return second if _RANKS[second.kind] > _RANKS[first.kind] else first


def floating(dtype: DType) -> DType:
    """The type itself if it has fractions, else PyTorch's default."""
    return dtype if dtype.kind in (Kind.FLOAT, Kind.COMPLEX) else dt.f32


def as_value(operand: Operand, dtype: DType) -> Value:
    """An operand as a tensor of that type."""
    if isinstance(operand, Value):
        return cast(operand, dtype)
    if isinstance(operand, Dim):
        return measure(operand, dtype)
    if isinstance(operand, Quotient):
        return operand.value(dtype)
    constant: Value = scalar(operand, dtype)()
    return constant


def promoted(*operands: Operand) -> tuple[Value, ...]:
    """The operands as tensors of their common type."""
    dtype = joined(*operands)
    return tuple(as_value(one, dtype) for one in operands)
