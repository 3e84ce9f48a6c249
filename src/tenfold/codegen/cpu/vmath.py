"""Elementary functions on vectors of f32 or f64, for any number of lanes, written as plain arithmetic.

NaN, infinities, signed zeros and subnormal numbers come out as IEEE 754 and C say. `ULP` states how far the results
may be from the exact ones, in units in the last place, for (f32, f64). Reductions and reconstructions are the
textbook ones (Cody and Waite 1980; Muller, Elementary Functions; Ng's argument reduction), the polynomials our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tenfold.codegen.cpu import pieces
from tenfold.codegen.cpu.angle import reduced
from tenfold.codegen.cpu.coefficients import DOUBLE, SINGLE, Coefficients
from tenfold.codegen.cpu.vectors import F64, I32, Vector, intrinsic, suffix, width

ULP: dict[str, tuple[float, float]] = {
    "exp": (1, 1),
    "expm1": (2, 2),
    "log": (1, 1),
    "log1p": (2, 2),
    "tanh": (3, 3),
    "erf": (6, 2),
    "sin": (2, 2),
    "cos": (2, 2),
    "tan": (4, 4),
    "asin": (3, 3),
    "acos": (3, 3),
    "atan": (3, 3),
    "sinh": (3, 3),
    "cosh": (2, 2),
    "asinh": (4, 4),
    "acosh": (4, 4),
    "atanh": (4, 4),
    "power": (1, 4),
}


_LOGISTIC_LOW, _LOGISTIC_HIGH = -89.5, 85.0
"""Where e**-x, whose quarter is computed, is infinite, and where it is lost beside 1."""


def _table(x: Vector) -> Coefficients:
    return SINGLE if width(x.type) == 32 else DOUBLE


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """The sum of coefficients[k] * x**k, by Horner's rule."""
    total = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(x, coefficient)
    return total


def _power_of_two(n: Vector, table: Coefficients) -> Vector:
    return (n + table.bias << table.digits - 1).floats()


def _scaled(x: Vector, n: Vector, table: Coefficients) -> Vector:
    """x * 2**n, rounded once: by an instruction where there is one, else in two halves of which the second rounds."""
    if x.code.isa.level == "x86-64-v4":
        exponent = n.to_integer(I32)
        name = f"ldexp.{suffix(x.type)}.{suffix(exponent.type)}"
        return x.code.wrap(intrinsic(x.code.builder, name, x.type, [x.value, exponent.value]))
    half = n >> 1
    return x * _power_of_two(half, table) * _power_of_two(n - half, table)


def _split_exponent(x: Vector, table: Coefficients) -> tuple[Vector, Vector, Vector]:
    """n (an integer), r and e^r - 1 with x = n log(2) + r, |r| ≤ log(2)/2; x is within the range of exp."""
    magic = x.like(1.5 * 2.0 ** (table.digits - 1))
    shifted = x.fma(1 / math.log(2), magic)
    n = shifted - magic
    r = n.fma(-table.log2[0], x)
    r = n.fma(-table.log2[1], r)
    return shifted.bits() - magic.bits(), r, (r * r).fma(polynomial(r, table.exp), r)


def _exp_times(x: Vector, doublings: int) -> Vector:
    """2**doublings * e**x."""
    table = _table(x)
    n, _, less_one = _split_exponent(x.at_least(table.exp_low).at_most(table.exp_high), table)
    return _scaled(less_one + 1, n + doublings if doublings else n, table)


def exp(x: Vector) -> Vector:
    """e**x."""
    return _exp_times(x, 0)


def logistic_divisor(x: Vector) -> Vector:
    """1 + e**-x. In f32 e**-x is within 1 + |x| / 4 units in the last place, infinite from 88.02 or 88.73 on, and
    bounded where that changes no sigmoid.
    """
    table = _table(x)
    if not table.exp2:
        return exp(-x) + 1
    if x.code.isa.level == "x86-64-v4":
        return pieces.logistic_divisor(x.at_least(-pieces.LOGISTIC_END).at_most(pieces.LOGISTIC_END))
    bounded = x.at_least(_LOGISTIC_LOW).at_most(_LOGISTIC_HIGH)
    magic = x.like(1.5 * 2.0 ** (table.digits - 1) + table.bias - 2)
    shifted = bounded.fma(-1 / math.log(2), magic)
    fraction = bounded.fma(-1 / math.log(2), magic - shifted)
    quarter = (shifted.bits() << table.digits - 1).floats()
    return (polynomial(fraction, table.exp2) * quarter).fma(4, 1)


def silu(x: Vector) -> Vector:
    """x / (1 + e**-x)."""
    if width(x.type) == 32 and x.code.isa.level == "x86-64-v4":
        return x / pieces.logistic_divisor(pieces.within(x, pieces.LOGISTIC_END))
    return x / logistic_divisor(x)


def expm1(x: Vector) -> Vector:
    """e**x - 1, exact near zero."""
    table = _table(x)
    bounded = x.at_least(-table.digits * 0.75).at_most(table.exp_high - 1)
    n, _, less_one = _split_exponent(bounded, table)
    half = _power_of_two(n - 1, table)
    result = half.fma(less_one, half - 0.5) * 2
    return x.equals(0).where(x, result)


def _split_log(x: Vector, table: Coefficients) -> tuple[Vector, Vector]:
    """k (as floats) and m with x = 2**k m, √½ ≤ m < √2; x is positive and normal."""
    shift = table.digits - 1
    start = x.like(math.sqrt(0.5)).bits()
    exponent = x.bits() - start >> shift
    return exponent.to_float(x.element), (x.bits() - (exponent << shift)).floats()


def _log_of(k: Vector, f: Vector, correction: Vector | None, table: Coefficients) -> Vector:
    """k log(2) + log(1 + f) + correction, for √½ ≤ 1 + f < √2."""
    s = f / (f + 2)
    z = s * s
    half_square = f * f * 0.5
    tail = s * (half_square + z * polynomial(z, table.log))
    low = k.fma(table.log2[1], tail if correction is None else tail + correction)
    return k.fma(table.log2[0], f - (half_square - low))


def _log_edges(x: Vector, result: Vector) -> Vector:
    """`result`, put right where a logarithm of x is infinite or not a number."""
    result = x.equals(math.inf).where(math.inf, result)
    result = x.equals(0).where(-math.inf, result)
    return ((x < 0) | x.is_nan()).where(math.nan, result)


def log(x: Vector) -> Vector:
    """The natural logarithm."""
    table = _table(x)
    tiny = x < 2.0 ** (1 - table.bias)
    k, m = _split_log(tiny.where(x * 2.0**table.digits, x), table)
    k = tiny.where(k - table.digits, k)
    return _log_edges(x, _log_of(k, m - 1, None, table))


def log1p(x: Vector) -> Vector:
    """log(1 + x), exact near zero."""
    table = _table(x)
    u = x + 1
    k, m = _split_log(u, table)
    rest = (u >= 2).where((u - x) * -1 + 1, x - (u - 1)) / u
    near = k.equals(0)
    result = _log_of(k, near.where(x, m - 1), near.where(0, rest), table)
    return x.equals(0).where(x, _log_edges(u, result))


def tanh(x: Vector) -> Vector:
    """The hyperbolic tangent: t / (t + 2) with t = e**2|x| - 1."""
    t = expm1(x.abs().at_most(_table(x).saturated) * 2)
    return (t / (t + 2)).copysign(x)


def sinh(x: Vector) -> Vector:
    """The hyperbolic sine."""
    size = x.abs()
    t = expm1(size.at_most(1))
    half = _exp_times(size, -1)
    return (size < 1).where((t + t / (t + 1)) * 0.5, half - 0.25 / half).copysign(x)


def cosh(x: Vector) -> Vector:
    """The hyperbolic cosine."""
    half = _exp_times(x.abs(), -1)
    return half + 0.25 / half


def erf(x: Vector) -> Vector:
    """The error function: in f32 x P(x²) / Q(x²), in f64 x + x P(x²) near zero and 1 - e**Q(|x|) beyond."""
    table = _table(x)
    if table.erf_ratio:
        near = x.at_least(-table.erf_end).at_most(table.erf_end)
        above, below = (polynomial(near * near, one) for one in table.erf_ratio)
        return (near * above / below).at_least(-1).at_most(1)
    size = x.abs()
    near = polynomial(x * x, table.erf).fma(x, x)
    place = size.at_least(table.erf_split).at_most(table.erf_end) - table.erf_split
    n, _, less_one = _split_exponent(polynomial(place, table.erfc), table)
    far = 1 - (less_one + 1) * _power_of_two(n, table)
    far = (size >= table.erf_end).where(1.0, far).copysign(x)
    return (size < table.erf_split).where(near, x.is_nan().where(x, far))


def gelu(x: Vector, approximate: bool) -> Vector:
    """GELU of f32, or its approximation by a hyperbolic tangent."""
    if x.code.isa.level == "x86-64-v4":
        return pieces.gelu(x, approximate)
    factor = math.sqrt(2 / math.pi)
    grown = tanh(x * (x * x * (0.044715 * factor) + factor)) if approximate else erf(x * math.sqrt(0.5))
    return x * 0.5 * (grown + 1)


def _sine(r: Vector, rest: Vector, table: Coefficients) -> Vector:
    z = r * r
    return r + (r * z).fma(polynomial(z, table.sin), rest * (z * -0.5 + 1))


def _cosine(r: Vector, rest: Vector, table: Coefficients) -> Vector:
    z = r * r
    half = z * 0.5
    whole = 1 - half
    lost = (1 - whole) - half
    return whole + (z * z).fma(polynomial(z, table.cos), lost - r * rest)


def _quadrants(x: Vector) -> tuple[Vector, Vector, Vector]:
    table = _table(x)
    quadrant, r, rest = reduced(x)
    return quadrant, _sine(r, rest, table), _cosine(r, rest, table)


def _turned(quadrant: Vector, even: Vector, odd: Vector) -> Vector:
    value = (quadrant & 1).equals(0).where(even, odd)
    sign = (quadrant & 2) << width(value.type) - 2
    return (value.bits() ^ sign).floats()


def sin(x: Vector) -> Vector:
    """The sine of x radians, for any finite x."""
    quadrant, sine, cosine = _quadrants(x)
    return x.equals(0).where(x, _turned(quadrant, sine, cosine))


def cos(x: Vector) -> Vector:
    """The cosine of x radians, for any finite x."""
    quadrant, sine, cosine = _quadrants(x)
    return _turned(quadrant + 1, sine, cosine)


def tan(x: Vector) -> Vector:
    """The tangent of x radians, for any finite x."""
    quadrant, sine, cosine = _quadrants(x)
    even = (quadrant & 1).equals(0)
    return x.equals(0).where(x, even.where(sine, -cosine) / even.where(cosine, sine))


def atan(x: Vector) -> Vector:
    """The inverse tangent, by that of a number within ±(√2 - 1)."""
    table = _table(x)
    size = x.abs()
    middle, outer = size > math.sqrt(2) - 1, size > math.sqrt(2) + 1
    above = outer.where(-1.0, middle.where(size - 1, size))
    below = outer.where(size, middle.where(size + 1, 1.0))
    t = above / below
    z = t * t
    turns = outer.where(1.0, middle.where(x.like(0.5), 0.0))
    tail = (t * z).fma(polynomial(z, table.atan), turns * table.half_pi[1])
    result = turns.fma(table.half_pi[0], t + tail)
    return x.is_nan().where(x, result.copysign(x))


def _arcsine_parts(x: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """Whether |x| < ½; s and asin(s) - s of s = x there, else √((1-|x|)/2); and what rounding lost of that root."""
    table = _table(x)
    near = x.abs() < 0.5
    z = near.where(x * x, 0.5 - x.abs() * 0.5)
    root = z.sqrt()
    lost = (root > 0).where(root.fma(-root, z) / (root * 2).at_least(2.0 ** (1 - table.bias)), 0.0)
    s = near.where(x, root)
    return near, s, s * z * polynomial(z, table.asin), lost


def asin(x: Vector) -> Vector:
    """The inverse sine; beyond ½ it is π/2 - 2 asin √((1-|x|)/2)."""
    table = _table(x)
    near, s, tail, lost = _arcsine_parts(x)
    far = table.half_pi[0] - (s * 2 - ((tail + lost) * -2 + table.half_pi[1]))
    return near.where(s + tail, far.copysign(x))


def acos(x: Vector) -> Vector:
    """The inverse cosine, by the same formulas."""
    high, low = _table(x).half_pi
    near, s, tail, lost = _arcsine_parts(x)
    middle = high - (s - (low - tail))
    positive = (s + (tail + lost)) * 2
    negative = 2 * high - (s * 2 - ((tail + lost) * -2 + 2 * low))
    return near.where(middle, (x < 0).where(negative, positive))


def asinh(x: Vector) -> Vector:
    """The inverse hyperbolic sine."""
    size = x.abs()
    large = size > 2.0 ** (_table(x).digits // 2 + 2)
    bounded = large.where(1.0, size)
    square = bounded * bounded
    near = log1p(bounded + square / ((square + 1).sqrt() + 1))
    return large.where(log(size) + math.log(2), near).copysign(x)


def acosh(x: Vector) -> Vector:
    """The inverse hyperbolic cosine; NaN below 1."""
    large = x > 2.0 ** (_table(x).digits // 2 + 2)
    t = large.where(1.0, x) - 1
    near = (x < 1).where(math.nan, log1p(t + (t * 2 + t * t).sqrt()))
    return large.where(log(x) + math.log(2), near)


def atanh(x: Vector) -> Vector:
    """The inverse hyperbolic tangent; infinite at ±1, NaN beyond."""
    size = x.abs()
    return (log1p(size * 2 / (1 - size)) * 0.5).copysign(x)


def power(x: Vector, y: Vector) -> Vector:
    """x**y, with the special cases of C's pow."""
    size = x.abs()
    grown = _power_single(size, y) if width(x.type) == 32 else _power_double(size, y)
    whole = y.round().equals(y)
    odd = whole & (y * 0.5).round().compare("!=", y * 0.5)
    result = (odd & (x.bits() < 0)).where(-grown, grown)
    undefined = (x < 0) & ~whole & (x > -math.inf)
    result = undefined.where(math.nan, result)
    result = (size.equals(1) & y.abs().equals(math.inf)).where(1.0, result)
    return (x.equals(1) | y.equals(0)).where(1.0, result)


def _power_single(size: Vector, y: Vector) -> Vector:
    return exp(log(size.to_float(F64)) * y.to_float(F64)).to_float(size.element)


def _power_double(size: Vector, y: Vector) -> Vector:
    """exp(y log(size)), the logarithm and its product carried in two parts each."""
    table = DOUBLE
    tiny = size < 2.0 ** (1 - table.bias)
    k, m = _split_log(tiny.where(size * 2.0**table.digits, size), table)
    high, low = _log_parts(tiny.where(k - table.digits, k), m)
    edge = size.equals(0) | (size >= math.inf) | size.is_nan() | (y.abs() >= 2.0**75)
    product = high * y
    rest = low.fma(y, high.fma(y, -product))
    plain = edge.where(log(size) * y, product)
    result = exp(plain)
    corrected = result.fma(rest, result)
    finite = (result < math.inf) & (result > 0) & ~edge
    return finite.where(corrected, result)


def _two_sum(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _log_parts(k: Vector, m: Vector) -> tuple[Vector, Vector]:
    """k log(2) + log(m) as an unevaluated sum, from 2 atanh((m-1) / (m+1)) with its first two terms exact."""
    table = DOUBLE
    f, d = m - 1, m + 1
    s = f / d
    s_low = (s.fma(-d, f) - s * (m - (d - 1))) / d
    z = s * s
    z_low = s.fma(s, -z) + s * s_low * 2
    cube = s * z
    cube_low = s.fma(z, -cube) + s * z_low + s_low * z
    third, third_low = 2 / 3, 3.700743415417188e-17
    term = cube * third
    term_low = cube.fma(third, -term) + cube_low * third + cube * third_low
    series = cube * z * polynomial(z, _AFTER_THIRD)
    high, low = _two_sum(s * 2, term)
    high, more = _two_sum(k * table.log2[0], high)
    low = low + more + (s_low * 2 + term_low + series + k * table.log2[1])
    total = high + low
    return total, low - (total - high)


_AFTER_THIRD = tuple(2 / (2 * k + 1) for k in range(2, 12))

FUNCTIONS: dict[str, Callable[..., Vector]] = {
    one.__name__: one
    for one in (
        *(exp, expm1, log, log1p, tanh, erf, sin, cos, tan, asin, acos, atan),
        *(sinh, cosh, asinh, acosh, atanh, power),
    )
}
"""Every function by its name in `ULP`."""
