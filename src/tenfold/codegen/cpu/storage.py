"""Element types in memory and in registers, and the conversions between them.

In registers floats narrower than 32 bits are f32, booleans are i1, and integers narrower than a byte are bytes that
hold the value. In memory every element is byte-addressable: a boolean is a byte, a bf16 or fp8 its bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.vectors import F32, F64, HALF, I1, I32, I64, Vector, integer, width
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind

SUPPORTED = tuple(one for one in dt.ALL if one.kind not in (Kind.COMPLEX, Kind.STRING))
"""The element types that generated CPU code handles."""


@dataclass(frozen=True)
class Format:
    """A small float: `exponent` and `mantissa` bits and the bias. `infinity` is the code of +Inf or None, `nan` that
    of a NaN or None, `largest` the highest finite code; `nuz` formats have one zero, and NaN where −0 would be.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: int
    infinity: int | None
    nan: int | None
    nuz: bool = False

    @property
    def bits(self) -> int:
        """The width, sign included."""
        return 1 + self.exponent + self.mantissa


FORMATS: dict[DType, Format] = {
    dt.f8e4m3fn: Format(4, 3, 7, 0x7E, None, 0x7F),
    dt.f8e4m3fnuz: Format(4, 3, 8, 0x7F, None, 0x80, nuz=True),
    dt.f8e5m2: Format(5, 2, 15, 0x7B, 0x7C, 0x7E),
    dt.f8e5m2fnuz: Format(5, 2, 16, 0x7F, None, 0x80, nuz=True),
    dt.f6e2m3: Format(2, 3, 1, 0x1F, None, None),
    dt.f6e3m2: Format(3, 2, 3, 0x1F, None, None),
    dt.f4e2m1: Format(2, 1, 1, 0x07, None, None),
}


def stored_type(dtype: DType) -> ir.Type:
    """The LLVM element type of `dtype` in memory."""
    return {dt.f64: F64, dt.f32: F32, dt.f16: HALF}.get(dtype, integer(8 * dtype.itemsize))


def register_type(dtype: DType) -> ir.Type:
    """The LLVM element type of `dtype` in registers."""
    if dtype.is_float:
        return F64 if dtype is dt.f64 else F32
    return I1 if dtype is dt.boolean else integer(8 * dtype.itemsize)


def widen(dtype: DType, stored: Vector) -> Vector:
    """An element as loaded to its form in registers."""
    if dtype is dt.boolean:
        return stored.compare("!=", 0)
    if dtype is dt.f16:
        return stored.to_float(F32)
    if dtype is dt.bf16:
        return (stored.zero_extend(I32) << 16).floats()
    if dtype is dt.f8e8m0:
        return _widen_exponent(stored.zero_extend(I32))
    if dtype.is_integer and dtype.bits < 8:
        return wrap(dtype, stored)
    return _widen_small(FORMATS[dtype], stored.zero_extend(I32)) if dtype in FORMATS else stored


def narrow(dtype: DType, value: Vector, saturate: bool = False) -> Vector:
    """A register to the form in which it is stored, rounded to nearest even.

    f32 or f64 registers both do for a float type; `saturate` turns overflow into the largest finite value.
    """
    if dtype is dt.boolean:
        return value.zero_extend(integer(8))
    if not dtype.is_float:
        return value & (1 << dtype.bits) - 1 if dtype.bits < 8 else value
    if dtype in (dt.f64, dt.f32):
        return value.to_float(stored_type(dtype))
    single = _round_to_odd(value) if width(value.type) == 64 else value
    if dtype is dt.f16:
        return single.to_float(HALF)
    if dtype is dt.bf16:
        return _narrow_bfloat(single)
    if dtype is dt.f8e8m0:
        return _narrow_exponent(single, saturate)
    return _narrow_small(FORMATS[dtype], single, saturate)


def cast(source: DType, target: DType, value: Vector, saturate: bool = True) -> Vector:
    """A register of type `source` converted to `target` as ONNX's Cast does; out of range an integer is unspecified."""
    if source is target:
        return value
    if target is dt.boolean:
        return value.compare("!=", 0)
    if source is dt.boolean:
        one = value.code.constant(register_type(target), 1)
        return value.where(one, 0)
    if not source.is_float:
        return _from_integer(source, target, value)
    if not target.is_float:
        return wrap(target, _to_integer(target, value))
    wide = value.to_float(register_type(target)) if target.bits >= 32 else value
    return wide if target.bits >= 32 else widen(target, narrow(target, value, saturate))


def bit_cast(source: DType, target: DType, value: Vector) -> Vector:
    """A register of type `source` as what its stored bits are in `target`, which is as wide."""
    stored = narrow(source, value)
    bits = stored.bits() if source in (dt.f64, dt.f32, dt.f16) else stored
    return widen(target, bits.floats() if target in (dt.f64, dt.f32, dt.f16) else bits)


def wrap(dtype: DType, value: Vector) -> Vector:
    """A byte reduced to the width of an integer narrower than it; other types as they are."""
    if not dtype.is_integer or dtype.bits >= 8:
        return value
    up = value << 8 - dtype.bits
    return up >> 8 - dtype.bits if dtype.kind is Kind.INT else up.unsigned_shift(8 - dtype.bits)


def _from_integer(source: DType, target: DType, value: Vector) -> Vector:
    unsigned = source.kind is Kind.UINT
    if target.is_float:
        wide = value.to_float(register_type(target), unsigned)
        return wide if target.bits >= 32 else widen(target, narrow(target, wide, saturate=True))
    element = integer(8 * target.itemsize)
    grown = value.zero_extend(element) if unsigned and width(value.type) < element.width else value.to_integer(element)
    return wrap(target, grown)


def _to_integer(target: DType, value: Vector) -> Vector:
    number = value.is_nan().where(0.0, value)
    if target is dt.u64:
        big = number >= 2.0**63
        low = _clamped(big.where(number - 2.0**63, number), I64)
        return big.where(low ^ -(2**63), low)
    wide = I64 if target.bits > 32 or target is dt.u32 else I32
    return _clamped(number, wide).to_integer(integer(8 * target.itemsize))


def _clamped(number: Vector, element: ir.IntType) -> Vector:
    digits = 24 if width(number.type) == 32 else 53
    top = element.width - 1
    highest = 2.0**top - 2.0 ** (top - digits) if digits < top else 2.0**top - 1
    return number.at_least(-(2.0**top)).at_most(highest).to_integer(element)


def _round_to_odd(value: Vector) -> Vector:
    """f64 to f32 so that a later rounding to fewer bits is correct (Boldo and Melquiond 2008)."""
    value = value.strict()
    near = value.to_float(F32)
    back = near.to_float(F64)
    bits = near.bits()
    toward = (value.abs() < back.abs()).where(bits - 1, bits)
    inexact = value.compare("!=", back) & ~value.is_nan()
    return inexact.where(toward | 1, bits).floats()


def _narrow_bfloat(value: Vector) -> Vector:
    bits = value.bits()
    rounded = (bits + 0x7FFF + (bits.unsigned_shift(16) & 1)).unsigned_shift(16)
    quiet = bits.unsigned_shift(16) | 0x40
    return value.is_nan().where(quiet, rounded).to_integer(integer(16))


def _widen_exponent(bits: Vector) -> Vector:
    normal = bits << 23
    low = bits.equals(0).where(1 << 22, normal)
    return bits.equals(0xFF).where(0x7FC00000, low).floats()


def _narrow_exponent(value: Vector, saturate: bool) -> Vector:
    """The magnitude, up to the next power of two; there is no zero."""
    bits = value.abs().bits()
    power = (bits <= 0x400000).where(0, (bits + 0x7FFFFF).unsigned_shift(23))
    beyond = 0xFE if saturate else 0xFF
    code = (power >= 0xFF).where(beyond, power)
    unusable = value.is_nan() | value.abs().equals(float("inf"))
    return unusable.where(0xFF, code).to_integer(integer(8))


def _widen_small(form: Format, bits: Vector) -> Vector:
    top = 1 << form.bits - 1
    magnitude = bits & top - 1
    shifted = magnitude << 23 - form.mantissa
    normal = shifted + (127 - form.bias << 23)
    least = 128 - form.bias << 23
    subnormal = ((shifted + least).floats() - bits.like(least).floats()).bits()
    value = (magnitude < 1 << form.mantissa).where(subnormal, normal)
    if form.infinity is not None:
        value = (magnitude >= form.infinity).where(shifted | 0x7F800000, value)
    value = value | ((bits & top) << 32 - form.bits)
    if form.nan is None or form.infinity is not None:
        return value.floats()
    nan = bits.equals(form.nan) if form.nuz else magnitude.equals(form.nan)
    return nan.where(0x7FC00000, value).floats()


def _narrow_small(form: Format, value: Vector, saturate: bool) -> Vector:
    value = value.strict()
    sign = value.bits().unsigned_shift(31) << form.bits - 1
    magnitude = value.abs()
    shift = 23 - form.mantissa
    bits = magnitude.bits()
    near = bits + ((1 << shift - 1) - 1) + (bits.unsigned_shift(shift) & 1)
    normal = near.unsigned_shift(shift) - (127 - form.bias << form.mantissa)
    unit = 2.0 ** (1 - form.bias - form.mantissa + 23)
    subnormal = (magnitude + unit).bits() - magnitude.like(unit).bits()
    code = (magnitude < 2.0 ** (1 - form.bias)).where(subnormal, normal)
    over = form.infinity if form.infinity is not None else form.nan
    beyond = form.largest if saturate or over is None else over
    code = ((code > form.largest) | (magnitude >= 2.0**127)).where(beyond, code)
    code = (code.equals(0) | code.equals(0x80)).where(code, code | sign) if form.nuz else code | sign
    nan = sign | (form.nan or 0) if not form.nuz else sign.like(form.nan or 0)
    return value.is_nan().where(nan, code).to_integer(integer(8))
