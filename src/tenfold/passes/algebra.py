"""Arithmetic on constants moved together and into one form, so that fewer patterns say more.

A constant operand stands on the right, a subtraction of one is an addition, and powers that a product or a root
says exactly are those. Products and sums of constants merge only where no overflow, underflow or cancellation can come
of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mul, Neg, Pow, Reciprocal, Rsqrt, Sqrt, Sub
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Constant
from tenfold.ops.logic import And, BitAnd, BitOr, BitXor, Cast, Equal, Not, NotEqual, Or, Where, Xor
from tenfold.ops.movement import Expand
from tenfold.rewrite.pattern import constant, exactly, never_negative, number
from tenfold.rewrite.rule import Replacement, rule


@rule("graph (%x: f32[2]) { return Add(f32{1.0}, %x) }", "graph (%x: f32[2]) { return Sub(f32{1.0}, %x) }")
def constant_right(value: Value) -> Replacement:
    """c + x -> x + c, and so for every commutative operation"""
    match value:
        case Value(
            Add()
            | Mul()
            | Minimum()
            | Maximum()
            | And()
            | Or()
            | Xor()
            | BitAnd()
            | BitOr()
            | BitXor()
            | Equal()
            | NotEqual() as op,
            (Value(Constant()) as c, x),
        ) if not isinstance(x.op, Constant):
            return op(x, c)
    return None


@rule("graph (%x: f32[2]) { return Sub(%x, f32{1.5}) }", "graph (%x: f32[2]) { return Sub(f32{1.5}, %x) }")
def add_negated(value: Value) -> Replacement:
    """x - c -> x + (-c)"""
    match value:
        case Value(Sub(), (x, Value(Constant()) as c)) if not isinstance(x.op, Constant):
            return Add()(x, Neg()(c))
    return None


@rule(
    "graph (%x: f32[2], %y: f32[2]) { return Add(%x, Neg(%y)) }",
    "graph (%x: f32[2], %y: f32[2]) { return Mul(%x, Neg(%y)) }",
)
def subtract(value: Value) -> Replacement:
    """x + (-y) -> x - y;  (-y) + x -> x - y;  x - (-y) -> x + y"""
    match value:
        case Value(Add(), (x, Value(Neg(), (y,)))) | Value(Add(), (Value(Neg(), (y,)), x)):
            return Sub()(x, y)
        case Value(Sub(), (x, Value(Neg(), (y,)))):
            return Add()(x, y)
    return None


@rule("graph (%x: f32[2]) { return Mul(Neg(%x), f32{3.0}) }", "graph (%x: f32[2]) { return Add(Neg(%x), f32{3.0}) }")
def negate_factor(value: Value) -> Replacement:
    """(-x) c -> x (-c);  (-x) / c -> x / (-c);  -(x c) -> x (-c)"""
    match value:
        case Value(Mul() | Div() as op, (Value(Neg(), (x,)), Value(Constant()) as c)) if x.type.dtype.is_float:
            return op(x, Neg()(c))
        case Value(Neg(), (Value(Mul(), (x, Value(Constant()) as c)),)) if x.type.dtype.is_float:
            return Mul()(x, Neg()(c))
    return None


@rule("graph (%x: f32[2]) { return Div(%x, f32{8.0}) }", "graph (%x: f32[2]) { return Div(%x, f32{3.0}) }")
def divide_by_power_of_two(value: Value) -> Replacement:
    """x / c -> x (1 / c) for c a power of two whose inverse is an ordinary number"""
    match value:
        case Value(Div(), (x, Value(Constant()) as c)) if x.type.dtype.is_float and not isinstance(x.op, Constant):
            mantissa, _ = np.frexp(_wide(c))
            inverse = 1 / np.where(mantissa == 0, np.nan, _wide(c))
            if np.all(np.abs(mantissa) == 0.5) and _ordinary(inverse, c.type.dtype):
                return Mul()(x, Reciprocal()(c))
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(Mul(%x, f32{3.0}), f32[2]{0.5, 2.0}) }",
    "graph (%x: f32[2]) { return Mul(Mul(%x, f32{3e-30}), f32{1e-30}) }",
)
def merge_factors(value: Value) -> Replacement:
    """(x a) b -> x (a b), unless a b leaves the range of ordinary numbers"""
    match value:
        case Value(Mul(), (Value(Mul(), (x, Value(Constant()) as a)), Value(Constant()) as b)):
            if not a.type.dtype.is_float or _ordinary(_wide(a) * _wide(b), a.type.dtype):
                return Mul()(x, Mul()(a, b))
    return None


@rule(
    "graph (%x: f32[2]) { return Add(Add(%x, f32{3.0}), f32[2]{0.5, 2.0}) }",
    "graph (%x: f32[2]) { return Add(Add(%x, f32{12582912.0}), f32{-12582912.0}) }",
)
def merge_terms(value: Value) -> Replacement:
    """(x + a) + b -> x + (a + b), unless a and b cancel: then the rounding between them is meant"""
    match value:
        case Value(Add(), (Value(Add(), (x, Value(Constant()) as a)), Value(Constant()) as b)):
            if not a.type.dtype.is_float or _adds_up(_wide(a), _wide(b)):
                return Add()(x, Add()(a, b))
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(Div(%x, f32{3.0}), f32{6.0}) }",
    "graph (%x: f32[2]) { return Mul(Div(f32{3.0}, %x), f32{6.0}) }",
)
def merge_quotient(value: Value) -> Replacement:
    """(x / a) b -> x (b / a);  (x b) / a -> x (b / a), where b / a is an ordinary number"""
    match value:
        case Value(Mul(), (Value(Div(), (x, Value(Constant()) as a)), Value(Constant()) as b)) | Value(
            Div(), (Value(Mul(), (x, Value(Constant()) as b)), Value(Constant()) as a)
        ) if a.type.dtype.is_float and not isinstance(x.op, Constant):
            with np.errstate(divide="ignore", invalid="ignore"):
                quotient = _wide(b) / _wide(a)
            return Mul()(x, Div()(b, a)) if _ordinary(quotient, a.type.dtype) else None
    return None


@rule("graph (%x: f32[2]) { return Pow(%x, f32{2.0}) }", "graph (%x: f32[2]) { return Pow(%x, f32{2.5}) }")
def power(value: Value) -> Replacement:
    """x ** 2 -> x x;  x ** 3 -> x x x;  x ** -1 -> 1 / x"""
    if not isinstance(value.op, Pow) or not value.type.dtype.is_float:
        return None
    x, exponent = value.inputs
    if exponent.type.rank > x.type.rank:
        return None
    match number(exponent):
        case 2.0:
            return Mul()(x, x)
        case 3.0:
            return Mul()(Mul()(x, x), x)
        case -1.0:
            return Reciprocal()(x)
    return None


@rule(
    "graph (%x: f32[2]) { return Pow(Abs(%x), f32{0.5}) }",
    "graph (%x: f32[2]) { return Pow(%x, f32{0.5}) }",
)
def power_to_root(value: Value) -> Replacement:
    """x ** 0.5 -> sqrt(x);  x ** -0.5 -> 1 / sqrt(x), where x is never negative nor -0"""
    match value:
        case Value(Pow(), (x, exponent)) if exponent.type.rank <= x.type.rank and never_negative(x):
            if exactly(exponent, 0.5):
                return Sqrt()(x)
            if exactly(exponent, -0.5):
                return Rsqrt()(x)
    return None


@rule("graph (%x: f32[2]) { return Div(f32{1.0}, %x) }", "graph (%x: f32[2]) { return Div(f32[3, 1]{1, 1, 1}, %x) }")
def reciprocal(value: Value) -> Replacement:
    """1 / x -> reciprocal of x;  1 / sqrt(x) -> rsqrt(x)"""
    match value:
        case Value(Reciprocal(), (Value(Sqrt(), (x,)),)):
            return Rsqrt()(x)
        case Value(Div(), (one, x)) if exactly(one, 1.0) and x.type.dtype.is_float and x.type.shape == value.type.shape:
            return Reciprocal()(x)
    return None


@rule(
    "graph (%x: i32[2]) { return Cast<to=f64>(Cast<to=i64>(%x)) }",
    "graph (%x: f32[2]) { return Cast<to=f32>(Cast<to=i64>(%x)) }",
)
def cast_through(value: Value) -> Replacement:
    """cast(cast(x, b), c) -> cast(x, c), where b holds every value of x's type"""
    match value:
        case Value(Cast(), (Value(Cast(middle), (x,)),)) if holds(middle, x.type.dtype):
            return value.op(x) if value.op else None
    return None


@rule(
    "graph (%c: bool[2], %x: f32[2], %y: f32[2]) { return Where(Not(%c), %x, %y) }",
    "graph (%c: bool[2], %x: f32[2], %y: f32[2]) { return Where(%c, %x, %y) }",
)
def where_not(value: Value) -> Replacement:
    """(x if not c else y) -> (y if c else x)"""
    match value:
        case Value(Where(), (Value(Not(), (condition,)), x, y)):
            return Where()(condition, y, x)
    return None


@rule(
    "graph (%x: f32[2], %y: f32[2]) { return Where(bool[2]{false, false}, %x, %y) }",
    "graph (%x: f32[2], %y: f32[2]) { return Where(bool[2]{false, true}, %x, %y) }",
)
def where_known(value: Value) -> Replacement:
    """(x if true else y) -> x;  (x if false else y) -> y"""
    match value:
        case Value(Where(), (condition, x, y)) if number(condition) is not None:
            chosen = x if number(condition) else y
            return chosen if chosen.type.shape == value.type.shape else Expand(value.type.shape)(chosen)
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if wide == narrow:
        return True
    if narrow is dt.boolean:
        return wide.is_float or wide.is_integer
    if wide.is_integer and narrow.is_integer:
        return wide.limits[0] <= narrow.limits[0] and narrow.limits[1] <= wide.limits[1]
    if narrow.is_integer:
        return wide in (dt.f32, dt.f64) and narrow.bits <= (53 if wide is dt.f64 else 24)
    both = {dt.f64: (dt.f32, dt.f16, dt.bf16), dt.f32: (dt.f16, dt.bf16)}
    return narrow in both.get(wide, ())


def _wide(value: Value) -> Array:
    found = constant(value)
    assert found is not None
    return found.astype(np.float64)


def _ordinary(exact: Array, dtype: DType) -> bool:
    """Whether every number is zero-free, finite, and neither overflows nor underflows in the element type."""
    smallest = float(np.finfo(np.float32).tiny) if dtype is not dt.f16 else 2.0**-14
    if dtype is dt.f64:
        smallest = float(np.finfo(np.float64).tiny)
    size = np.abs(exact)
    return bool(np.all((size >= smallest) & (size <= float(dtype.limits[1]))))


def _adds_up(a: Array, b: Array) -> bool:
    """Whether no sum is much smaller than its terms."""
    return bool(np.all(np.abs(a + b) >= 0.5 * np.maximum(np.abs(a), np.abs(b))))


@rule(
    "graph (%q: f32[1, 1, 2, 4], %k: f32[1, 1, 3, 4]) { return Attention<scale=0.5, blind='zero'>(%q, %k, %k) }",
    "graph (%q: f32[1, 1, 2, 4], %k: f32[1, 1, 3, 4]) { return Attention<scale=0.5, causal=true>(%q, %k, %k) }",
)
def nothing_hidden(value: Value) -> Replacement:
    """attention that hides no key, blind or not -> attention as a softmax of its scores says it"""
    match value:
        case Value(Attention(causal=False, blind="zero") as op, (q, k, v)):
            return replace(op, blind="nan")(q, k, v)
    return None


EXACT = (
    *(constant_right, add_negated, subtract, negate_factor, divide_by_power_of_two),
    *(reciprocal, cast_through, where_not, where_known, nothing_hidden),
)
CANONICAL = (*EXACT, power, power_to_root)
MERGING = (merge_factors, merge_terms, merge_quotient)
