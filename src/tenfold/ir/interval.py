"""Between which numbers a formula of sizes lies: interval arithmetic over its normal form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tenfold.ir import polynomial
from tenfold.ir.polynomial import Monomial, Terms

if TYPE_CHECKING:
    from tenfold.ir.atom import Atom
    from tenfold.ir.dim import Size

Interval: TypeAlias = tuple[float, float]
"""Lowest and highest value: integers, or minus and plus infinity."""

ANY: Interval = (-math.inf, math.inf)

_ENORMOUS = 2**62
_DEPTH = 4
_DEGREE = 6


def of_size(size: Size) -> Interval:
    """The interval of a size."""
    return (size, size) if isinstance(size, int) else size.interval


def of_terms(terms: Terms, depth: int = 0) -> Interval:
    """The interval of a polynomial: the intersection of three sound views of it.

    No size is as large as 2**62: a constant beyond it, such as the usual end of an open slice, stands for infinity.
    """
    constant = terms.get((), 0)
    if abs(constant) >= _ENORMOUS and len(terms) > 1:
        return (1, math.inf) if constant > 0 else (-math.inf, -1)
    found = _of_sum(terms, lambda atom: atom.interval)
    degree = max(map(len, terms), default=0)
    if len(terms) > 1 and 2 <= degree <= _DEGREE:
        found = _meet(found, _from_corner(terms))
    if len(terms) > 1 and depth < _DEPTH:
        found = _meet(found, _by_parts(terms, depth))
    return found


def _meet(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), min(a[1], b[1])


def _of_sum(terms: Terms, interval: Callable[[Atom], Interval]) -> Interval:
    low: float = 0
    high: float = 0
    for monomial, factor in terms.items():
        exact: Interval = (factor, factor)
        ends = functools.reduce(_of_product, map(interval, monomial), exact)
        low, high = low + ends[0], high + ends[1]
    return low, high


def _of_product(a: Interval, b: Interval) -> Interval:
    corners = [x * y if x and y else 0 for x in a for y in b]
    return min(corners), max(corners)


def _from_corner(terms: Terms) -> Interval:
    """With every x written as low + y: terms of both signs cancel first (n * m - n >= 0 for n, m >= 1)."""
    return _of_sum(polynomial.add(_expanded(*term) for term in terms.items()), _above_low)


def _expanded(monomial: Monomial, factor: int) -> Terms:
    found: Terms = {(): factor}
    for atom in monomial:
        low = 0 if math.isinf(atom.interval[0]) else int(atom.interval[0])
        found = polynomial.add([polynomial.scale(found, low), {(*one, atom): count for one, count in found.items()}])
    return found


def _above_low(atom: Atom) -> Interval:
    low, high = atom.interval
    return (low, high) if math.isinf(low) else (0, high - low)


def _by_parts(terms: Terms, depth: int) -> Interval:
    """With one linear quotient, minimum, maximum, broadcast or selection replaced by what it is made of."""
    for monomial, factor in terms.items():
        if len(monomial) == 1 and monomial[0].kind in _PARTS:
            rest = {one: times for one, times in terms.items() if one != monomial}
            return _PARTS[monomial[0].kind](rest, monomial[0].arguments, factor, depth + 1)
    return ANY


def _part(rest: Terms, scale: int, argument: Size, factor: int, depth: int) -> Interval:
    """The interval of scale * rest + factor * argument."""
    inner = polynomial.scale(polynomial.of_size(argument), factor)
    return of_terms(polynomial.add([polynomial.scale(rest, scale), inner]), depth)


def _quotient_part(rest: Terms, arguments: tuple[Size, ...], factor: int, depth: int) -> Interval:
    """k * (rest + factor * (a // k)) = k * rest + factor * a - factor * r, where 0 <= r < k"""
    dividend, divisor = arguments
    if not isinstance(divisor, int):
        return ANY
    low, high = _part(rest, divisor, dividend, factor, depth)
    slack = factor * (divisor - 1)
    low, high = low - max(slack, 0), high - min(slack, 0)
    return low if math.isinf(low) else -(-low // divisor), high if math.isinf(high) else high // divisor


def _one_part(rest: Terms, arguments: tuple[Size, ...], factor: int, depth: int) -> Interval:
    return hull(*(_part(rest, 1, one, factor, depth) for one in arguments))


def _least_part(rest: Terms, arguments: tuple[Size, ...], factor: int, depth: int) -> Interval:
    parts = [_part(rest, 1, one, factor, depth) for one in arguments]
    return least(*parts) if factor > 0 else most(*parts)


def _most_part(rest: Terms, arguments: tuple[Size, ...], factor: int, depth: int) -> Interval:
    parts = [_part(rest, 1, one, factor, depth) for one in arguments]
    return most(*parts) if factor > 0 else least(*parts)


def hull(*intervals: Interval) -> Interval:
    """Of a number that lies in one of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def least(*intervals: Interval) -> Interval:
    """Of the minimum of numbers, one in each."""
    return min(low for low, _ in intervals), min(high for _, high in intervals)


def most(*intervals: Interval) -> Interval:
    """Of the maximum of numbers, one in each."""
    return max(low for low, _ in intervals), max(high for _, high in intervals)


def quotient(a: Interval, b: Interval) -> Interval:
    """Of a // b, rounded down."""
    (low, high), (smallest, largest) = a, b
    if smallest < 1:
        return ANY
    lower = _floor(low, largest if low >= 0 else smallest)
    return lower, _floor(high, smallest if high >= 0 else largest)


def _floor(a: float, b: float) -> float:
    if math.isinf(a):
        return a
    return a // b if not math.isinf(b) else 0 if a >= 0 else -1


def remainder(a: Interval, b: Interval) -> Interval:
    """Of a % b, which has the sign of b."""
    (low, high), (smallest, largest) = a, b
    if smallest < 1:
        return ANY
    return 0, min(largest - 1, high) if low >= 0 else largest - 1


def multiples(low: int | None, high: int | None, step: int) -> Interval:
    """Of x / step for the multiples x of step from low to high; None is no bound."""
    return -math.inf if low is None else -(-low // step), math.inf if high is None else high // step


_PARTS: dict[str, Callable[[Terms, tuple[Size, ...], int, int], Interval]] = {
    "//": _quotient_part,
    "minimum": _least_part,
    "maximum": _most_part,
    "broadcast": _one_part,
    "select": lambda rest, arguments, factor, depth: _one_part(rest, arguments[1:], factor, depth),
}

OPERATIONS: dict[str, Callable[..., Interval]] = {
    "//": quotient,
    "%": remainder,
    "minimum": least,
    "maximum": most,
    "broadcast": hull,
    "select": lambda condition, a, b: hull(a, b),
    "equal": lambda a, b: (0, 1),
    "less": lambda a, b: (0, 1),
}
"""The interval of each kind of atom from those of its arguments."""
