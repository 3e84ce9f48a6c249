"""Comparison, logic and bits on elements; selection; conversion between element types."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array
from tenfold.ops.elementwise import Elementwise

NARROW_FLOATS = (dt.f8e4m3fn, dt.f8e4m3fnuz, dt.f8e5m2, dt.f8e5m2fnuz, dt.f8e8m0, dt.f6e2m3, dt.f6e3m2, dt.f4e2m1)


class Comparison(Elementwise):
    """A boolean from two elements of one type."""

    def dtype(self, *dtypes: DType) -> DType:
        """Bool, from inputs of one type."""
        super().dtype(*dtypes)
        return dt.boolean


class Equal(Comparison):
    """x == y."""

    any_kind: ClassVar[bool] = True

    def compute(self, x: Array, y: Array) -> Array:
        return np.equal(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.equal(x, y)


class NotEqual(Comparison):
    """x != y; true if either is NaN."""

    any_kind: ClassVar[bool] = True

    def compute(self, x: Array, y: Array) -> Array:
        return np.not_equal(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.logical_not(dim.equal(x, y))


class Less(Comparison):
    """x < y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.less(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.less(x, y)


class LessOrEqual(Comparison):
    """x <= y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.less_equal(x, y)


class Greater(Comparison):
    """x > y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.greater(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.less(y, x)


class GreaterOrEqual(Comparison):
    """x >= y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.greater_equal(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.less_equal(y, x)


class Logical(Elementwise):
    """A boolean from booleans."""

    def dtype(self, *dtypes: DType) -> DType:
        """Bool, from bools only."""
        if any(one is not dt.boolean for one in dtypes):
            raise ValueError(f"{self.name} takes bool inputs, not {', '.join(map(str, dtypes))}")
        return dt.boolean


class And(Logical):
    """Both."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.logical_and(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.logical_and(x, y)


class Or(Logical):
    """One or both."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.logical_or(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.logical_or(x, y)


class Xor(Logical):
    """Exactly one."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.logical_xor(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.logical_not(dim.equal(x, y))


class Not(Logical):
    """The opposite."""

    def compute(self, x: Array) -> Array:
        return np.logical_not(x)

    def entry(self, x: Size) -> Size:
        return dim.logical_not(x)


class Bitwise(Elementwise):
    """Integers of one type, as bits."""

    def dtype(self, *dtypes: DType) -> DType:
        """The integer type of the inputs."""
        result = super().dtype(*dtypes)
        if not result.is_integer:
            raise ValueError(f"{self.name} takes integers, not {result}")
        return result


class BitAnd(Bitwise):
    """x & y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.bitwise_and(x, y)


class BitOr(Bitwise):
    """x | y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.bitwise_or(x, y)


class BitXor(Bitwise):
    """x ^ y."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.bitwise_xor(x, y)


class BitNot(Bitwise):
    """Every bit inverted."""

    def compute(self, x: Array) -> Array:
        return np.bitwise_not(x)


class ShiftLeft(Bitwise):
    """x * 2**y, keeping the low bits; 0 where y is at least the width."""

    def compute(self, x: Array, y: Array) -> Array:
        bits = 8 * x.dtype.itemsize
        shifted = np.left_shift(x, np.clip(y, 0, bits - 1))
        kept: Array = np.where((y < 0) | (y >= bits), np.zeros_like(shifted), shifted)
        return kept


class ShiftRight(Bitwise):
    """x / 2**y rounded down; a y of at least the width leaves only the sign."""

    def compute(self, x: Array, y: Array) -> Array:
        last = 8 * x.dtype.itemsize - 1
        over = (y < 0) | (y > last)
        distance = np.where(over, np.full_like(y, last), y)
        once = np.right_shift(x, distance)
        return np.where(over, np.right_shift(once, np.ones_like(once)), once)


class FloatTest(Elementwise):
    """A boolean from one floating-point element."""

    def dtype(self, *dtypes: DType) -> DType:
        """Bool, from a floating-point type."""
        if not all(one.is_float for one in dtypes):
            raise ValueError(f"{self.name} takes floating-point inputs, not {', '.join(map(str, dtypes))}")
        return dt.boolean


class IsNan(FloatTest):
    """True for NaN."""

    def compute(self, x: Array) -> Array:
        return np.isnan(x)


class IsInf(FloatTest):
    """True for the infinities of the chosen signs."""

    positive: bool = True
    negative: bool = True

    def compute(self, x: Array) -> Array:
        return (np.isposinf(x) & self.positive) | (np.isneginf(x) & self.negative)


class Where(Elementwise):
    """x where the condition holds, else y."""

    any_kind: ClassVar[bool] = True

    def dtype(self, *dtypes: DType) -> DType:
        """The type of x and y; the condition is bool."""
        condition, x, y = dtypes
        if condition is not dt.boolean:
            raise ValueError(f"the condition of Where must be bool, not {condition}")
        return super().dtype(x, y)

    def compute(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def entry(self, condition: Size, x: Size, y: Size) -> Size:
        return dim.select(condition, x, y)


class Cast(Elementwise):
    """The element converted to type `to`.

    Floats become integers by dropping the fraction (out of range the result is unspecified), anything
    becomes bool by comparing with zero. To a type narrower than f16, values beyond its range become its
    largest finite ones if `saturate`, else NaN or infinity as the format has it. To f8e8m0, whose values are powers
    of two, they are rounded up.
    """

    to: DType
    saturate: bool = True

    def dtype(self, *dtypes: DType) -> DType:
        """`to`, from anything."""
        return self.to

    def compute(self, x: Array) -> Array:
        if self.to is dt.string:
            return np.array([_text(one) for one in x.ravel()], dtype=np.object_).reshape(x.shape)
        if x.dtype == np.object_:
            return np.array([_parsed(one, self.to) for one in x.ravel()]).reshape(x.shape).astype(self.to.numpy)
        if self.to is dt.boolean:
            return np.not_equal(x, np.zeros_like(x))
        if self.to is dt.f8e8m0:
            x = _next_power_of_two(x)
        if self.saturate and self.to in NARROW_FLOATS:
            return np.clip(x, *self.to.limits)
        return x.astype(self.to.numpy)

    def entry(self, x: Size) -> Size | None:
        return dim.logical_not(dim.equal(x, 0)) if self.to is dt.boolean else x


class BitCast(Elementwise):
    """The bits of an element read as type `to`, which is as wide."""

    to: DType

    def dtype(self, *dtypes: DType) -> DType:
        """`to`, from a type of its width."""
        if dtypes[0].bits != self.to.bits or dt.string in (self.to, *dtypes):
            raise ValueError(f"BitCast of {dtypes[0]} to {self.to}, which is not as wide")
        return self.to

    def evaluate(self, *inputs: Array) -> Array:
        """NumPy's view; of types narrower than a byte the low bits."""
        (x,) = inputs
        bits = np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}").reshape(x.shape)
        if self.to.bits < 8:
            bits = bits & np.uint8((1 << self.to.bits) - 1)
            if self.to.kind is dt.Kind.INT:
                spare = 8 - self.to.bits
                bits = ((bits << spare).astype(np.int8) >> spare).astype(np.uint8)
        return np.asarray(bits.view(self.to.numpy))


def _next_power_of_two(x: Array) -> Array:
    fraction, exponent = np.frexp(x.astype(np.float32))
    up: Array = np.ldexp(np.float32(1), exponent - (fraction == 0.5))
    return np.where(x == 0, np.float32(0), np.where(np.isfinite(x), up, np.float32(np.nan)))


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return {math.inf: "INF", -math.inf: "-INF"}.get(float(value), "NaN" if np.isnan(value) else f"{value:.9g}")
    return str(int(value)) if isinstance(value, bool | np.bool_) else str(value)


def _parsed(text: str, to: DType) -> float | int:
    if to.is_float:
        return float(text)
    if to is dt.boolean:
        return text not in ("", "0", "false", "False")
    return int(float(text)) if any(mark in text for mark in ".eE") else int(text)
