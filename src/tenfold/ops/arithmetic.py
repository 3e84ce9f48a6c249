"""Arithmetic on elements."""

from __future__ import annotations

import math

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Array
from tenfold.ops.elementwise import Elementwise


class Add(Elementwise):
    """x + y; integers wrap."""

    def compute(self, x: Array, y: Array) -> Array:
        return x + y

    def entry(self, x: Size, y: Size) -> Size:
        return x + y


class Sub(Elementwise):
    """x - y; integers wrap."""

    def compute(self, x: Array, y: Array) -> Array:
        return x - y

    def entry(self, x: Size, y: Size) -> Size:
        return x - y


class Mul(Elementwise):
    """x * y; integers wrap."""

    def compute(self, x: Array, y: Array) -> Array:
        return x * y

    def entry(self, x: Size, y: Size) -> Size:
        return x * y


class Div(Elementwise):
    """x / y; integers round toward zero, and a zero divisor gives 0 or -1 as the machine likes, never a trap."""

    def compute(self, x: Array, y: Array) -> Array:
        if x.dtype.kind == "f":
            return x / y
        safe = np.where(y == 0, 1, y)
        quotient = np.abs(x) // np.abs(safe)
        return np.where((x < 0) != (y < 0), -quotient, quotient) if x.dtype.kind == "i" else x // safe

    def entry(self, x: Size, y: Size) -> Size | None:
        return None if y == 0 else dim.truncdiv(x, y)


class Mod(Elementwise):
    """The remainder of x / y with the sign of y (`truncated`: with the sign of x, as C's fmod)."""

    truncated: bool = False

    def compute(self, x: Array, y: Array) -> Array:
        safe = y if x.dtype.kind == "f" else np.where(y == 0, 1, y)
        return np.fmod(x, safe) if self.truncated else np.mod(x, safe)

    def entry(self, x: Size, y: Size) -> Size | None:
        return None if self.truncated or y == 0 else x % y


class Pow(Elementwise):
    """x to the power y; both of x's element type."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.power(x.astype(np.float64), y).astype(x.dtype) if x.dtype.kind in "iu" else np.power(x, y)


class Minimum(Elementwise):
    """The lesser of x and y; NaN if either is."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.minimum(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.minimum(x, y)


class Maximum(Elementwise):
    """The greater of x and y; NaN if either is."""

    def compute(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def entry(self, x: Size, y: Size) -> Size:
        return dim.maximum(x, y)


class Neg(Elementwise):
    """-x."""

    def compute(self, x: Array) -> Array:
        return np.negative(x)

    def entry(self, x: Size) -> Size:
        return -x


class Abs(Elementwise):
    """|x|."""

    def compute(self, x: Array) -> Array:
        return np.abs(x)

    def entry(self, x: Size) -> Size:
        return dim.maximum(x, -x)


class Sign(Elementwise):
    """-1, 0 or 1 as x is below, at or above zero; NaN stays."""

    def compute(self, x: Array) -> Array:
        return np.sign(x)


class Floor(Elementwise):
    """The greatest integer not above x."""

    def compute(self, x: Array) -> Array:
        return np.floor(x)


class Ceil(Elementwise):
    """The least integer not below x."""

    def compute(self, x: Array) -> Array:
        return np.ceil(x)


class Trunc(Elementwise):
    """x without its fraction."""

    def compute(self, x: Array) -> Array:
        return np.trunc(x)


class Round(Elementwise):
    """The nearest integer, halves to the even one."""

    def compute(self, x: Array) -> Array:
        return np.rint(x)


class Sqrt(Elementwise):
    """The square root; NaN below zero."""

    def compute(self, x: Array) -> Array:
        return np.sqrt(x)


class Rsqrt(Elementwise):
    """1 / sqrt(x), correctly divided, not estimated."""

    def compute(self, x: Array) -> Array:
        return 1 / np.sqrt(x)


class Reciprocal(Elementwise):
    """1 / x."""

    def compute(self, x: Array) -> Array:
        return np.reciprocal(x)


class Exp(Elementwise):
    """e to the power x."""

    def compute(self, x: Array) -> Array:
        return np.exp(x)


class Log(Elementwise):
    """The natural logarithm; NaN below zero, -Inf at it."""

    def compute(self, x: Array) -> Array:
        return np.log(x)


class Log1p(Elementwise):
    """log(1 + x), exact near zero."""

    def compute(self, x: Array) -> Array:
        return np.log1p(x)


class Expm1(Elementwise):
    """exp(x) - 1, exact near zero."""

    def compute(self, x: Array) -> Array:
        return np.expm1(x)


class Erf(Elementwise):
    """The error function."""

    def compute(self, x: Array) -> Array:
        return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x)).astype(x.dtype)


class Sin(Elementwise):
    """The sine of x radians."""

    def compute(self, x: Array) -> Array:
        return np.sin(x)


class Cos(Elementwise):
    """The cosine of x radians."""

    def compute(self, x: Array) -> Array:
        return np.cos(x)


class Tan(Elementwise):
    """The tangent of x radians."""

    def compute(self, x: Array) -> Array:
        return np.tan(x)


class Asin(Elementwise):
    """The inverse sine, in radians."""

    def compute(self, x: Array) -> Array:
        return np.arcsin(x)


class Acos(Elementwise):
    """The inverse cosine, in radians."""

    def compute(self, x: Array) -> Array:
        return np.arccos(x)


class Atan(Elementwise):
    """The inverse tangent, in radians."""

    def compute(self, x: Array) -> Array:
        return np.arctan(x)


class Sinh(Elementwise):
    """The hyperbolic sine."""

    def compute(self, x: Array) -> Array:
        return np.sinh(x)


class Cosh(Elementwise):
    """The hyperbolic cosine."""

    def compute(self, x: Array) -> Array:
        return np.cosh(x)


class Tanh(Elementwise):
    """The hyperbolic tangent."""

    def compute(self, x: Array) -> Array:
        return np.tanh(x)


class Asinh(Elementwise):
    """The inverse hyperbolic sine."""

    def compute(self, x: Array) -> Array:
        return np.arcsinh(x)


class Acosh(Elementwise):
    """The inverse hyperbolic cosine."""

    def compute(self, x: Array) -> Array:
        return np.arccosh(x)


class Atanh(Elementwise):
    """The inverse hyperbolic tangent."""

    def compute(self, x: Array) -> Array:
        return np.arctanh(x)
