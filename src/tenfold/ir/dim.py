"""Sizes: plain integers, or symbolic integers in a normal form, hash-consed, with bounds.

A `Dim` is a polynomial with integer factors over atoms: named symbols, and the operations that no polynomial
expresses (floor division, remainder, minimum, maximum, broadcast, select, comparisons). Equal formulas are one object,
so equality is identity. Every function takes plain integers too, and returns one when the result is constant.

Nothing depends on the order of creation: formulas are alike in every process.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NoReturn, TypeAlias

from tenfold.errors import InputError
from tenfold.ir import formula, interval, polynomial
from tenfold.ir.atom import Atom, Symbol, atom, factor_of
from tenfold.ir.interval import Interval
from tenfold.ir.polynomial import Monomial, Terms


class Dim:
    """A symbolic integer. Immutable; two that are equal as formulas are one object.

    `terms` are the monomials with their factors, never zero, in order. Arithmetic with integers and other sizes gives
    sizes; `//` and `%` round down, as in Python. It has no truth value and no order: the module's functions give both.
    """

    __slots__ = ("_interval", "terms")
    terms: tuple[tuple[Monomial, int], ...]
    _interval: Interval | None

    def __add__(self, other: Size) -> Size:
        return _sum(self, other)

    def __sub__(self, other: Size) -> Size:
        return _sum(self, -other)

    def __rsub__(self, other: int) -> Size:
        return _sum(-self, other)

    def __mul__(self, other: Size) -> Size:
        return _product(self, other)

    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Size:
        return floordiv(other, self)

    def __mod__(self, other: Size) -> Size:
        return modulo(self, other)

    def __rmod__(self, other: int) -> Size:
        return modulo(other, self)

    def __neg__(self) -> Dim:
        return _cons(tuple((monomial, -factor) for monomial, factor in self.terms))

    __radd__ = __add__
    __rmul__ = __mul__

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"whether the size {self} is zero is not known before the call; ask dim.known_equal, dim.known_positive "
            "or dim.known_le what is provable, or build the answer with dim.equal, dim.less and dim.select"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _cons, (self.terms,)

    def __str__(self) -> str:
        return formula.show(self)

    __repr__ = __str__

    @property
    def interval(self) -> Interval:
        """The lowest and the highest value: integers, or infinite."""
        if self._interval is None:
            self._interval = interval.of_terms(dict(self.terms))
        return self._interval

    @property
    def symbol(self) -> Symbol | None:
        """What is known of the symbol, if this is a bare symbol."""
        monomial, factor = self.terms[0]
        found = monomial[0].symbol if len(self.terms) == len(monomial) == 1 else None
        return found if found and found.multiple == factor else None

    @property
    def data_dependent(self) -> bool:
        """True if it depends on a size that only the data decide."""
        return any(one.symbol.data_dependent for one in declared(self) if one.symbol)


Size: TypeAlias = int | Dim

_DIMS: dict[tuple[tuple[Monomial, int], ...], Dim] = {}

_terms = polynomial.of_size
_remember = functools.lru_cache(maxsize=65536, typed=True)


def _cons(terms: tuple[tuple[Monomial, int], ...]) -> Dim:
    found = _DIMS.get(terms)
    if found is None:
        found = Dim()
        found.terms, found._interval = terms, None
        found = _DIMS.setdefault(terms, found)
    return found


def _of_terms(terms: Terms) -> Size:
    if not terms.keys() - {()}:
        return terms.get((), 0)
    return _cons(tuple(sorted(terms.items(), key=lambda term: polynomial.order(term[0]))))


def _of(kind: str, *arguments: Size) -> Dim:
    return _cons((((atom(kind, arguments),), 1),))


def _size(size: Size) -> Size:
    return size if isinstance(size, Dim) else int(operator.index(size))


def _interval(size: Size) -> Interval:
    return interval.of_size(_size(size))


def symbol(name: str, low: int | None = 0, high: int | None = None, multiple: int = 1) -> Dim:
    """The size called `name`, a multiple of `multiple` between the bounds; None is no bound.

    Raises ValueError if no number is one.
    """
    return of_symbol(Symbol(name, low, high, multiple, False))


def unknown(name: str, low: int | None = 0) -> Dim:
    """A size that only the data decide (the count of NonZero): a symbol with `data_dependent` set."""
    return of_symbol(Symbol(name, low, None, 1, True))


def of_symbol(found: Symbol) -> Dim:
    """The size that a symbol is."""
    return _cons((((atom("symbol", (), found),), found.multiple),))


def total(sizes: Iterable[Size]) -> Size:
    """The sum; 0 of none."""
    terms = polynomial.add(map(_terms, sizes))
    for monomial in [one for one in terms if len(one) == 1 and one[0].kind == "%"]:
        terms = _without_remainder(terms, monomial)
    return _of_terms(terms)


def _without_remainder(terms: Terms, monomial: Monomial) -> Terms:
    """(a // k) * k + a % k -> a"""
    dividend, divisor = monomial[0].arguments
    quotient, factor = (atom("//", (dividend, divisor)),), terms.get(monomial, 0)
    if not isinstance(divisor, int) or not factor or terms.get(quotient) != factor * divisor:
        return terms
    whole = polynomial.scale(_terms(dividend), factor)
    return polynomial.add([terms, {monomial: -factor, quotient: -factor * divisor}, whole])


@_remember
def _sum(a: Size, b: Size) -> Size:
    return total((a, b))


@_remember
def _product(a: Size, b: Size) -> Size:
    return _of_terms(polynomial.multiply(_terms(a), _terms(b)))


def product(sizes: Iterable[Size]) -> Size:
    """The product; 1 of none."""
    return functools.reduce(operator.mul, map(_size, sizes), 1)


def _divided(kind: str, a: Size, b: Size) -> tuple[Size, Size]:
    """(quotient, rest) for a positive divisor: what leaves a polynomial, and what stays under the operation."""
    if isinstance(b, Dim):
        whole, rest = map(_of_terms, polynomial.divide(_terms(a), _terms(b)))
        return whole, rest
    if b == 0:
        raise InputError(f"the size {a}{kind}0 does not exist", remedy="give sizes that divide by no zero")
    whole, rest = map(_of_terms, polynomial.reduce(_terms(a), b))
    low, high = _interval(rest)
    step = int(low // b) if low > -math.inf and low // b == high // b else 0
    return whole + step, rest - step * b


@_remember
def floordiv(a: Size, b: Size) -> Size:
    """a / b rounded down, as `//` of sizes. Raises InputError if b is 0."""
    a, b = _size(a), _size(b)
    if known_positive(-b):
        return floordiv(-a, -b)
    if isinstance(b, Dim) and not known_positive(b):
        return _of("//", a, b)
    whole, rest = _divided("//", a, b)
    if known_le(0, rest) and known_le(rest + 1, b):
        return whole
    if isinstance(b, Dim):
        return whole + _of("//", rest, b)
    return whole + _floordiv_rest(_terms(rest), b)


def _floordiv_rest(rest: Terms, divisor: int) -> Size:
    """(g * a + r) // (g * k) -> (a + r // g) // k;  (a // m + r) // k -> (a + m * r) // (m * k)"""
    shared = math.gcd(divisor, polynomial.content(rest))
    if shared > 1:
        return floordiv(_of_terms(polynomial.shrink(rest, shared)), divisor // shared)
    constant = rest.get((), 0)
    inner = polynomial.only_atom(polynomial.add([rest, {(): -constant}]))
    if inner and inner.kind == "//" and isinstance(inner.arguments[1], int):
        dividend, first = inner.arguments[0], inner.arguments[1]
        return floordiv(dividend + constant * first, first * divisor)
    return _of("//", _of_terms(rest), divisor)


@_remember
def modulo(a: Size, b: Size) -> Size:
    """a - floordiv(a, b) * b, as `%` of sizes. Raises InputError if b is 0."""
    a, b = _size(a), _size(b)
    if known_positive(-b):
        return -modulo(-a, -b)
    if isinstance(b, Dim) and not known_positive(b):
        return _of("%", a, b)
    rest = _divided("%", a, b)[1]
    if known_le(0, rest) and known_le(rest + 1, b):
        return rest
    shared = math.gcd(b, polynomial.content(_terms(rest))) if isinstance(b, int) else 1
    if isinstance(b, Dim) or shared == 1:
        return _of("%", rest, b)
    return (
        shared * modulo(_of_terms(polynomial.shrink(_terms(rest), shared)), b // shared)
        + _terms(rest).get((), 0) % shared
    )


def divide_exact(a: Size, b: Size) -> Size | None:
    """a / b as a formula, or None where b is not known to divide a. A divisor that may be zero is taken not to be."""
    if isinstance(b, Dim):
        whole, rest = polynomial.divide(_terms(a), _terms(b))
        return None if rest else _of_terms(whole)
    return floordiv(a, b) if b and divisible(a, b) else None


def ceildiv(a: Size, b: Size) -> Size:
    """a / b rounded up."""
    return floordiv(a + b - 1, b) if known_positive(b) else -floordiv(-a, b)


def truncdiv(a: Size, b: Size) -> Size:
    """a / b rounded to zero, as ONNX divides integers."""
    return select(less(a if known_positive(b) else a * b, 0), -floordiv(-a, b), floordiv(a, b))


def minimum(*sizes: Size) -> Size:
    """The smallest of one or more."""
    return _extreme("minimum", sizes, known_le)


def maximum(*sizes: Size) -> Size:
    """The largest of one or more."""
    return _extreme("maximum", sizes, lambda a, b: known_le(b, a))


def _extreme(kind: str, sizes: tuple[Size, ...], beats: Callable[[Size, Size], bool]) -> Size:
    kept: list[Size] = []
    numbers = [size for size in sizes if type(size) is int]
    if numbers and len(numbers) == len(sizes):
        return max(numbers) if kind == "maximum" else min(numbers)
    for size in _flat(kind, sizes):
        if not any(beats(other, size) for other in kept):
            kept = [*(other for other in kept if not beats(size, other)), size]
    return kept[0] if len(kept) == 1 else _of(kind, *kept)


def _flat(kind: str, sizes: tuple[Size, ...]) -> list[Size]:
    """In order, without nesting and repetition: the operation is associative, commutative and idempotent."""
    if not sizes:
        raise ValueError(f"{kind} takes at least one size")
    parts: dict[Size, None] = {}
    for size in map(_size, sizes):
        inner = polynomial.only_atom(_terms(size))
        parts.update(dict.fromkeys(inner.arguments if inner and inner.kind == kind else (size,)))
    return sorted(parts, key=lambda size: [(polynomial.order(one), factor) for one, factor in _terms(size).items()])


def broadcast(*sizes: Size) -> Size:
    """The size that these broadcast to, as in NumPy: all that are not 1 must be equal.

    One that is known not to be 1 is the answer; whether the others fit it is for the call to check.
    Raises InputError if two integers differ.
    """
    numbers = {size for size in sizes if size != 1}
    if len(numbers) < 2 and all(type(size) is int for size in sizes):
        return numbers.pop() if numbers else 1
    kept = [size for size in _flat("broadcast", sizes) if not (isinstance(size, int) and size == 1)]
    certain: list[Size] = [size for size in kept if isinstance(size, int)]
    if len(certain) > 1:
        raise InputError(f"sizes {certain[0]} and {certain[1]} do not broadcast", remedy="make them equal, or one 1")
    kept = [size for size in kept if not _is_capped(size, kept)]
    certain = certain or [size for size in kept if equal(size, 1) == 0]
    if len(certain) == 1:
        return certain[0]
    return _of("broadcast", *kept) if len(kept) > 1 else kept[0] if kept else 1


def _is_capped(size: Size, others: list[Size]) -> bool:
    """Whether it is minimum(x, n) for another of the sizes x and n > 1: it broadcasts with x only where it is x."""
    inner = polynomial.only_atom(_terms(size))
    if inner is None or inner.kind != "minimum":
        return False
    return all(one in others or (isinstance(one, int) and one > 1) for one in inner.arguments)


def _may_be(size: Size, number: int) -> bool:
    low, high = _interval(size - number)
    return low <= 0 <= high


def equal(a: Size, b: Size) -> Size:
    """1 if a = b, else 0."""
    difference = _size(a) - _size(b)
    if isinstance(difference, int) or not _may_be(difference, 0):
        return int(isinstance(difference, int) and difference == 0)
    constant = _terms(difference).get((), 0)
    if constant % factor_of(difference - constant):
        return 0
    left, right = _sides(difference)
    return _of("equal", right, left) if difference.terms[0][1] < 0 else _of("equal", left, right)


def less(a: Size, b: Size) -> Size:
    """1 if a < b, else 0."""
    difference = _size(a) - _size(b)
    low, high = _interval(difference)
    if isinstance(difference, int) or high < 0 or low >= 0:
        return int(high < 0)
    if difference.terms[0][1] < 0:
        return 1 - less(b, a + 1)
    return _of("less", *_sides(difference))


def _sides(difference: Size) -> tuple[Size, Size]:
    """(left, right) that compare as the difference to zero: without common factors, and nothing subtracted."""
    terms = _terms(difference)
    terms = polynomial.shrink(terms, polynomial.content(terms))
    left = {monomial: factor for monomial, factor in terms.items() if factor > 0}
    right = {monomial: -factor for monomial, factor in terms.items() if factor < 0}
    return _of_terms(left), _of_terms(right)


def less_equal(a: Size, b: Size) -> Size:
    """1 if a <= b, else 0."""
    return less(a, b + 1)


def _truth(size: Size) -> Size:
    """1 if it is not zero, else 0."""
    low, high = _interval(size)
    return size if low >= 0 and high <= 1 else 1 - equal(size, 0)


def logical_not(a: Size) -> Size:
    """1 if a is zero, else 0."""
    return 1 - _truth(a)


def logical_and(a: Size, b: Size) -> Size:
    """1 if neither is zero, else 0."""
    return _truth(a) * _truth(b)


def logical_or(a: Size, b: Size) -> Size:
    """1 if not both are zero, else 0."""
    return 1 - logical_not(a) * logical_not(b)


def select(condition: Size, a: Size, b: Size) -> Size:
    """a where the condition is not zero, else b; what is not chosen need not exist (10 // 0)."""
    condition, a, b = _truth(condition), _size(a), _size(b)
    if isinstance(condition, int):
        return a if condition else b
    if condition.terms[0][1] < 0:
        return select(1 - condition, b, a)
    if a is b:
        return a
    if isinstance(a, int) and isinstance(b, int):
        return b + (a - b) * condition
    return _of("select", condition, a, b)


def bounds(size: Size) -> tuple[int | None, int | None]:
    """(low, high): every value lies between them; None is no bound."""
    low, high = _interval(size)
    return None if math.isinf(low) else int(low), None if math.isinf(high) else int(high)


def known_equal(a: Size, b: Size) -> bool:
    """True if a = b for all values of the symbols."""
    return a is b or _interval(_size(a) - _size(b)) == (0, 0)


def known_positive(size: Size) -> bool:
    """True if size > 0 for all values of the symbols."""
    return _interval(size)[0] > 0


def known_le(a: Size, b: Size) -> bool:
    """True if a <= b for all values of the symbols."""
    return _interval(_size(b) - _size(a))[0] >= 0


def divisible(size: Size, n: int) -> bool:
    """True if n divides size for all values of the symbols."""
    return factor_of(size) % n == 0


def declared(size: Size) -> tuple[Dim, ...]:
    """The symbols in it, as sizes, in order of their names."""
    found, seen, waiting = set[Atom](), set[Size](), [size]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            atoms = set(chain.from_iterable(_terms(one)))
            found.update(part for part in atoms if part.symbol)
            waiting.extend(chain.from_iterable(part.arguments for part in atoms))
    return tuple(of_symbol(part.symbol) for part in sorted(found, key=lambda part: part.key) if part.symbol)


def symbols(size: Size) -> frozenset[str]:
    """The names of the symbols in it."""
    return frozenset(one.symbol.name for one in declared(size) if one.symbol)
