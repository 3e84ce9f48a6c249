"""aten's operators that compute element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.angle import angle, is_negative
from tenfold.importers.shorthand import apply, cast, number, reshaped
from tenfold.importers.torch.promote import Operand, as_value, floating, joined, promoted
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops import activation, arithmetic, logic
from tenfold.ops.arithmetic import Add, Div, Floor, Mod, Mul, Pow, Sub
from tenfold.ops.constant import Constant

Converter = Callable[..., Any]


def unary(op: Op) -> Converter:
    """One operation that keeps the element type."""

    def convert(x: Value) -> Value:
        return apply(op, x)

    return convert


def real(op: Op) -> Converter:
    """One operation on floating-point elements; integers become them first."""

    def convert(x: Operand) -> Value:
        return apply(op, as_value(x, floating(joined(x))))

    return convert


def rounding(op: Op) -> Converter:
    """An operation that leaves integers as they are."""

    def convert(x: Value) -> Value:
        return apply(op, x) if x.type.dtype.is_float else x

    return convert


def binary(op: Op) -> Converter:
    """One operation on two operands of their common type."""

    def convert(x: Operand, y: Operand) -> Value:
        return apply(op, *promoted(x, y))

    return convert


def add(x: Operand, y: Operand, *scale: Any, alpha: Any = 1) -> Value:
    """x + alpha y; booleans are or-ed."""
    a, b = promoted(x, y)
    if a.type.dtype is dt.boolean:
        return apply(logic.Or(), a, b)
    return apply(Add(), a, _times(b, *(scale or (alpha,))))


def sub(x: Operand, y: Operand, *scale: Any, alpha: Any = 1) -> Value:
    """x - alpha y."""
    a, b = promoted(x, y)
    return apply(Sub(), a, _times(b, *(scale or (alpha,))))


def rsub(x: Operand, y: Operand, alpha: Any = 1) -> Value:
    """y - alpha x."""
    return sub(y, x, alpha)


def mul(x: Operand, y: Operand) -> Value:
    """x y; booleans are and-ed."""
    a, b = promoted(x, y)
    return apply(logic.And() if a.type.dtype is dt.boolean else Mul(), a, b)


def _times(x: Value, factor: Any) -> Value:
    return x if factor == 1 else apply(Mul(), x, as_value(factor, x.type.dtype))


def div(x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Value:
    """x / y, whole numbers as fractions; or rounded to zero, or down."""
    kind = joined(x, y)
    if rounding_mode is None:
        kind = floating(kind)
        return apply(Div(), as_value(x, kind), as_value(y, kind))
    a, b = as_value(x, kind), as_value(y, kind)
    if rounding_mode == "trunc":
        quotient = apply(Div(), a, b)
        return apply(arithmetic.Trunc(), quotient) if kind.is_float else quotient
    return _floored(a, b)


def _floored(a: Value, b: Value) -> Value:
    rest = apply(Mod(False), a, b)
    if not a.type.dtype.is_float:
        return apply(Div(), apply(Sub(), a, rest), b)
    quotient = apply(Div(), apply(Sub(), a, rest), b)
    whole = apply(Floor(), quotient)
    above = apply(logic.Greater(), apply(Sub(), quotient, whole), 0.5)
    exact = apply(Add(), whole, cast(above, a.type.dtype))
    by_zero = apply(logic.Equal(), b, 0)
    result: Value = logic.Where()(by_zero, apply(Div(), a, b), exact)
    return result


def floor_divide(x: Operand, y: Operand) -> Value:
    """x // y."""
    return div(x, y, rounding_mode="floor")


def remainder(x: Operand, y: Operand) -> Value:
    """What is left of x by y, with the sign of y."""
    return apply(Mod(False), *promoted(x, y))


def power(x: Operand, y: Operand) -> Value:
    """x to the y; small whole exponents of floats are what they say."""
    if isinstance(x, Value) and isinstance(y, int | float) and x.type.dtype.is_float:
        simple = _simple_power(x, float(y))
        if simple is not None:
            return simple
    return apply(Pow(), *promoted(x, y))


def _simple_power(x: Value, exponent: float) -> Value | None:
    if exponent == 1:
        return x
    if exponent in (2.0, 3.0):
        square = apply(Mul(), x, x)
        return square if exponent == 2 else apply(Mul(), square, x)
    op = {0.5: arithmetic.Sqrt(), -0.5: arithmetic.Rsqrt(), -1.0: arithmetic.Reciprocal()}.get(exponent)
    return None if op is None else apply(op, x)


def compare(op: Op) -> Converter:
    """A comparison of two operands in their common type."""

    def convert(x: Operand, y: Operand) -> Value:
        return apply(op, *promoted(x, y))

    return convert


def truth(x: Operand) -> Value:
    """Whether each element is not zero."""
    value = as_value(x, joined(x))
    return value if value.type.dtype is dt.boolean else apply(logic.NotEqual(), value, 0)


def logical(op: Op) -> Converter:
    """A logical operation on the truth of its operands."""

    def convert(*operands: Operand) -> Value:
        return apply(op, *map(truth, operands))

    return convert


def bitwise(on_bits: Op, on_truth: Op) -> Converter:
    """An operation on the bits of integers, or on booleans."""

    def convert(*operands: Operand) -> Value:
        values = promoted(*operands)
        return apply(on_truth if values[0].type.dtype is dt.boolean else on_bits, *values)

    return convert


def where(condition: Value, x: Operand, y: Operand) -> Value:
    """x where the condition holds, else y."""
    a, b = promoted(x, y)
    result: Value = logic.Where()(truth(condition), a, b)
    return result


def masked_fill(x: Value, mask: Value, value: Operand) -> Value:
    """The value where the mask holds, else x."""
    result: Value = logic.Where()(truth(mask), as_value(value, x.type.dtype), x)
    return result


def clamp(x: Value, low: Operand | None = None, high: Operand | None = None) -> Value:
    """x within the bounds."""
    kind = joined(x, *(one for one in (low, high) if one is not None))
    y = cast(x, kind)
    if low is not None and high is not None and not isinstance(low, Value) and not isinstance(high, Value):
        result: Value = activation.Clip()(y, as_value(low, kind), as_value(high, kind))
        return result
    if low is not None:
        y = apply(arithmetic.Maximum(), y, as_value(low, kind))
    return y if high is None else apply(arithmetic.Minimum(), y, as_value(high, kind))


def clamp_max(x: Value, high: Operand) -> Value:
    """x, at most `high`."""
    return clamp(x, None, high)


def fill(x: Value, value: Operand) -> Value:
    """The value everywhere."""
    return apply(logic.Where(), _like_true(x), as_value(value, x.type.dtype), x)


def _like_true(x: Value) -> Value:
    result: Value = Constant(Tensor(np.array(True)))()
    return result


def to_copy(x: Value, *, dtype: DType | None = None) -> Value:
    """x in another element type."""
    if dtype is None or x.type.dtype is dtype:
        return x
    return truth(x) if dtype is dt.boolean else cast(x, dtype)


def to_dtype(x: Value, dtype: DType, *_: Any) -> Value:
    """x in another element type."""
    return to_copy(x, dtype=dtype)


def to_device(x: Value, _: Any, dtype: DType, *__: Any) -> Value:
    """x in another element type."""
    return to_copy(x, dtype=dtype)


def type_as(x: Value, other: Value) -> Value:
    """x in the element type of another tensor."""
    return to_copy(x, dtype=other.type.dtype)


def logarithm(base: float) -> Converter:
    """The logarithm to a base."""

    def convert(x: Operand) -> Value:
        return apply(Mul(), apply(arithmetic.Log(), as_value(x, floating(joined(x)))), 1 / math.log(base))

    return convert


def exp2(x: Operand) -> Value:
    """2 to the x."""
    value = as_value(x, floating(joined(x)))
    return apply(Pow(), number(2, value), value)


def atan2(y: Operand, x: Operand) -> Value:
    """The angle of (x, y), in the quadrant that both signs say."""
    kind = floating(joined(y, x))
    return angle(as_value(y, kind), as_value(x, kind))


def hypotenuse(x: Operand, y: Operand) -> Value:
    """The root of the sum of both squares."""
    a, b = promoted(x, y)
    return apply(arithmetic.Sqrt(), apply(Add(), apply(Mul(), a, a), apply(Mul(), b, b)))


def copy_sign(x: Operand, y: Operand) -> Value:
    """The size of x with the sign of y, of zeros too."""
    kind = floating(joined(x, y))
    a, b = as_value(x, kind), as_value(y, kind)
    size = apply(arithmetic.Abs(), a)
    result: Value = logic.Where()(is_negative(b), apply(arithmetic.Neg(), size), size)
    return result


def sign_bit(x: Value) -> Value:
    """Whether the sign is a minus, of zeros too."""
    return is_negative(x) if x.type.dtype.is_float else apply(logic.Less(), x, 0)


def scaled_by_power(x: Operand, y: Operand) -> Value:
    """x times 2 to the y."""
    return mul(x, exp2(y))


def complement_of_erf(x: Operand) -> Value:
    """1 - erf(x)."""
    value = as_value(x, floating(joined(x)))
    return apply(Sub(), number(1, value), apply(arithmetic.Erf(), value))


def ignoring_nan(op: Op) -> Converter:
    """The greater or lesser of two, the other one where one is not a number."""

    def convert(x: Operand, y: Operand) -> Value:
        a, b = promoted(x, y)
        if not a.type.dtype.is_float:
            return apply(op, a, b)
        chosen: Value = logic.Where()(is_nan(b), a, apply(op, a, b))
        result: Value = logic.Where()(is_nan(a), b, chosen)
        return result

    return convert


def addcmul(x: Operand, a: Operand, b: Operand, *, value: Any = 1) -> Value:
    """x + value a b."""
    return add(x, mul(a, b), value)


def addcdiv(x: Operand, a: Operand, b: Operand, *, value: Any = 1) -> Value:
    """x + value a / b."""
    return add(x, div(a, b), value)


def lerp(start: Value, end: Value, weight: Operand) -> Value:
    """start + weight (end - start)."""
    return add(start, mul(weight, sub(end, start)))


def isfinite(x: Value) -> Value:
    """Whether each element is neither infinite nor NaN."""
    return apply(logic.Not(), apply(logic.Or(), is_inf(x), is_nan(x)))


def is_inf(x: Value) -> Value:
    """Whether each element is infinite."""
    return apply(logic.IsInf(True, True), cast(x, floating(x.type.dtype)))


def is_nan(x: Value) -> Value:
    """Whether each element is not a number."""
    return apply(logic.IsNan(), cast(x, floating(x.type.dtype)))


def nan_to_num(x: Value, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Value:
    """Numbers in the places of what is none; whole numbers are numbers."""
    if not x.type.dtype.is_float:
        return x
    low, high = x.type.dtype.limits
    y = masked_fill(x, apply(logic.IsInf(True, False), x), high if posinf is None else posinf)
    y = masked_fill(y, apply(logic.IsInf(False, True), x), low if neginf is None else neginf)
    return masked_fill(y, apply(logic.IsNan(), x), 0.0 if nan is None else nan)


def round_to(x: Value, *, decimals: int) -> Value:
    """Rounded to decimal places."""
    if decimals < 0:
        factor = 10.0**-decimals
        return apply(Mul(), apply(arithmetic.Round(), apply(Div(), x, factor)), factor)
    factor = 10.0**decimals
    return apply(Div(), apply(arithmetic.Round(), apply(Mul(), x, factor)), factor)


def shift(op: Op) -> Converter:
    """A shift of the bits of integers."""

    def convert(x: Operand, y: Operand) -> Value:
        return apply(op, *promoted(x, y))

    return convert


def negated(x: Value) -> Value:
    """-x."""
    if x.type.dtype is dt.boolean:
        raise UnsupportedError("the negative of booleans")
    return apply(arithmetic.Neg(), x)


def absolute(x: Value) -> Value:
    """The size of each element."""
    return x if x.type.dtype is dt.boolean else apply(arithmetic.Abs(), x)


def same(x: Any, *_: Any, **__: Any) -> Any:
    """What only says how or where to keep a tensor leaves it as it is."""
    return x


def copied(x: Value, source: Value, *_: Any) -> Value:
    """The source's elements in the shape and type of x."""
    value = to_copy(source, dtype=x.type.dtype)
    if value.type.shape == x.type.shape:
        return value
    result: Value = logic.Where()(_like_true(x), reshaped(value, value.type.shape), x)
    return result


_REAL: Mapping[str, Op] = {
    **{
        name: getattr(arithmetic, name.capitalize())()
        for name in ("exp", "log", "log1p", "expm1", "erf", "sqrt", "rsqrt")
    },
    **{
        name: getattr(arithmetic, name.capitalize())() for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh")
    },
    **{name: getattr(arithmetic, name.capitalize())() for name in ("cosh", "tanh", "asinh", "acosh", "atanh")},
    "reciprocal": arithmetic.Reciprocal(),
    "sigmoid": activation.Sigmoid(),
}

_COMPARISONS: Mapping[str, Op] = {
    "eq": logic.Equal(),
    "ne": logic.NotEqual(),
    "lt": logic.Less(),
    "le": logic.LessOrEqual(),
    "gt": logic.Greater(),
    "ge": logic.GreaterOrEqual(),
}

TABLE: Mapping[str, Converter] = {
    **{name: real(op) for name, op in _REAL.items()},
    **{name: compare(op) for name, op in _COMPARISONS.items()},
    **{name: rounding(getattr(arithmetic, name.capitalize())()) for name in ("floor", "ceil", "trunc")},
    "round.default": rounding(arithmetic.Round()),
    "round.decimals": round_to,
    "sign": unary(arithmetic.Sign()),
    "neg": negated,
    "abs": absolute,
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "mul": mul,
    "div": div,
    "floor_divide": floor_divide,
    "remainder": remainder,
    "fmod": binary(Mod(True)),
    "pow": power,
    "maximum": binary(arithmetic.Maximum()),
    "minimum": binary(arithmetic.Minimum()),
    "max.other": binary(arithmetic.Maximum()),
    "min.other": binary(arithmetic.Minimum()),
    "logical_and": logical(logic.And()),
    "logical_or": logical(logic.Or()),
    "logical_xor": logical(logic.Xor()),
    "logical_not": logical(logic.Not()),
    "bitwise_and": bitwise(logic.BitAnd(), logic.And()),
    "bitwise_or": bitwise(logic.BitOr(), logic.Or()),
    "bitwise_xor": bitwise(logic.BitXor(), logic.Xor()),
    "bitwise_not": bitwise(logic.BitNot(), logic.Not()),
    "bitwise_left_shift": shift(logic.ShiftLeft()),
    "bitwise_right_shift": shift(logic.ShiftRight()),
    "__lshift__": shift(logic.ShiftLeft()),
    "__rshift__": shift(logic.ShiftRight()),
    "where.self": where,
    "where.ScalarOther": where,
    "where.ScalarSelf": where,
    "where.Scalar": where,
    "masked_fill": masked_fill,
    "clamp": clamp,
    "clip": clamp,
    "clamp_min": clamp,
    "clamp_max": clamp_max,
    "fill": fill,
    "_to_copy": to_copy,
    "to.dtype": to_dtype,
    "to.device": to_device,
    "type_as": type_as,
    "log2": logarithm(2),
    "log10": logarithm(10),
    "exp2": exp2,
    "hypot": hypotenuse,
    "copysign": copy_sign,
    "signbit": sign_bit,
    "ldexp": scaled_by_power,
    "erfc": complement_of_erf,
    "special_erfc": complement_of_erf,
    "fmax": ignoring_nan(arithmetic.Maximum()),
    "fmin": ignoring_nan(arithmetic.Minimum()),
    "atan2.default": atan2,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
    "lerp": lerp,
    "isfinite": isfinite,
    "isinf": is_inf,
    "isnan": is_nan,
    "nan_to_num": nan_to_num,
    "clone": same,
    "contiguous": same,
    "alias": same,
    "detach": same,
    "lift_fresh_copy": same,
    "dropout": same,
    "feature_dropout": same,
    "copy": copied,
}
