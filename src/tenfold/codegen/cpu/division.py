"""Quotients, remainders and whole powers: what processors do slowly, in part, or with a trap."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from tenfold.codegen.cpu.vectors import F32, F64, Vector, is_float, width


def divide(x: Vector, y: Vector, unsigned: bool = False) -> Vector:
    """x / y toward zero; a zero divisor counts as 1, and the lowest integer divided by -1 stays.

    Integers of at most 32 bits are divided as floats that hold every quotient exactly enough to truncate.
    """
    one = y.equals(0)
    if not unsigned:
        one = one | y.equals(-1)
    safe = one.where(1, y)
    quotient = _quotient(x, safe, unsigned)
    return quotient if unsigned else y.equals(-1).where(-x, quotient)


def _quotient(x: Vector, y: Vector, unsigned: bool) -> Vector:
    bits = width(x.type)
    if bits > 32:
        builder = x.code.builder
        return x.code.wrap((builder.udiv if unsigned else builder.sdiv)(x.value, y.value))
    element = F64 if bits > 16 else F32
    grown = ir.IntType(64 if bits > 16 else 32) if unsigned else ir.IntType(32)
    numbers = [(one.zero_extend(grown) if unsigned else one.to_integer(grown)).to_float(element) for one in (x, y)]
    return (numbers[0].strict() / numbers[1]).to_integer(grown).to_integer(x.element)


def remainder(x: Vector, y: Vector, truncated: bool, unsigned: bool = False) -> Vector:
    """x - y q with q = x / y toward zero if `truncated` (the sign of x), else rounded down (the sign of y).

    An integer divisor of zero counts as 1.
    """
    if not is_float(x.type):
        y = y.equals(0).where(1, y)
    rest = _float_remainder(x, y) if is_float(x.type) else x - divide(x, y, unsigned) * y
    if truncated or unsigned:
        return rest
    if is_float(x.type):
        apart = (rest < 0) ^ (y < 0)
        return rest.equals(0).where(rest.copysign(y), (apart & ~rest.is_nan()).where(rest + y, rest))
    apart = ((rest ^ y) < 0) & rest.compare("!=", 0)
    return apart.where(rest + y, rest)


def _float_remainder(x: Vector, y: Vector) -> Vector:
    """C's fmod, exactly: while |r| ≥ |y|, r becomes r - y times the truncated quotient, which is a float each time."""
    size, divisor = x.strict().abs(), y.strict().abs()
    usable = (size < math.inf) & (divisor > 0) & (divisor < math.inf)
    divisor = usable.where(divisor, 1.0)
    start = usable.where(size, 0.0)
    rest = _while(start, lambda r: r.abs() >= divisor, lambda r: _reduce(r, divisor))
    rest = (rest < 0).where(rest + divisor, rest).copysign(x)
    rest = usable.where(rest, math.nan)
    return ((x.abs() < math.inf) & y.abs().equals(math.inf)).where(x, rest)


def _reduce(r: Vector, divisor: Vector) -> Vector:
    """One turn; the divisor is scaled up where the quotient would overflow."""
    scale = 2.0 ** (1000 if width(r.type) == 64 else 100)
    size, larger = r.abs() * (1 / scale), divisor * scale
    step = (size > larger).where(larger * scale, (size > divisor).where(larger, divisor))
    quotient = (r / step).intrinsic("trunc")
    return (-quotient).fma(step, r)


def _while(start: Vector, again: Callable[[Vector], Vector], body: Callable[[Vector], Vector]) -> Vector:
    """The first of start, body(start), body(body(start)), … for which `again` holds in no lane."""
    builder = start.code.builder
    before = builder.block
    head, inside, behind = (builder.append_basic_block(name) for name in ("while", "again", "settled"))
    builder.branch(head)
    builder.position_at_end(head)
    phi = builder.phi(start.type)
    phi.add_incoming(start.value, before)
    current = start.code.wrap(phi)
    builder.cbranch(again(current).any(), inside, behind)
    builder.position_at_end(inside)
    following = body(current)
    phi.add_incoming(following.value, builder.block)
    builder.branch(head)
    builder.position_at_end(behind)
    return current


def whole_power(x: Vector, y: Vector, unsigned: bool = False) -> Vector:
    """x**y of integers, wrapping, by squaring; a negative power is 0 but for bases 1 and -1."""
    result, square = x.like(1), x
    for bit in range(6):
        taken = ((y.unsigned_shift(bit)) & 1).compare("!=", 0)
        result = taken.where(result * square, result)
        square = square * square
    if unsigned:
        return result
    sign = (y & 1).equals(0).where(x.like(1), -1)
    edge = x.equals(-1).where(sign, x.equals(1).where(x.like(1), 0))
    return (y < 0).where(edge, result)
