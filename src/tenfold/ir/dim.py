"""Sizes: plain integers, or symbolic integers in a normal form, hash-consed, with bounds.

A `Dim` is a polynomial with integer coefficients over atoms: named symbols, and the operations that no polynomial
expresses (floor division, remainder, minimum, maximum, broadcast, select, comparisons). Equal formulas are one object,
so equality is identity. Every function takes plain integers too, and returns one when the result is constant.

Monomials are ordered by degree, then by the names and structure of their atoms: the same in every process.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple, NoReturn, TypeAlias

from tenfold.errors import InputError

Interval: TypeAlias = tuple[float, float]
"""Lowest and highest value: integers, or minus and plus infinity."""

_ANY: Interval = (-math.inf, math.inf)
_ENORMOUS = 2**62
"""No size is as large: a constant beyond it, such as the usual end of an open slice, stands for infinity."""


class Symbol(NamedTuple):
    """What is known of a named size: its value is a multiple of `multiple` from `low` to `high` (None: any)."""

    name: str
    low: int | None
    high: int | None
    multiple: int
    data_dependent: bool


class Atom:
    """An indivisible part of a formula: a symbol (counted in its multiples), or an operation on formulas."""

    __slots__ = ("arguments", "interval", "key", "kind", "symbol")

    def __init__(self, kind: str, arguments: tuple[Size, ...], symbol: Symbol | None) -> None:
        self.kind = kind
        self.arguments = arguments
        self.symbol = symbol
        digest = blake2b(repr((kind, tuple(map(_digest, arguments)), symbol)).encode(), digest_size=12).hexdigest()
        self.key = (0 if symbol else 1, symbol.name if symbol else kind, digest)
        self.interval = _symbol_interval(symbol) if symbol else _INTERVALS[kind](*arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return _atom, (self.kind, self.arguments, self.symbol)

    def __str__(self) -> str:
        if self.symbol:
            name, multiple = _symbol_text(self.symbol), self.symbol.multiple
            return name if multiple == 1 else f"{name}//{multiple}"
        if self.kind in ("//", "%"):
            return self.kind.join(text if _SIMPLE.fullmatch(text) else f"({text})" for text in map(str, self.arguments))
        if self.kind in ("equal", "less"):
            return f"{self.kind}({', '.join(map(str, _sides(self.arguments[0])))})"
        return f"{self.kind}({', '.join(map(str, self.arguments))})"


Monomial: TypeAlias = tuple[Atom, ...]


class Dim:
    """A symbolic integer. Immutable; two that are equal as formulas are one object.

    `terms` are pairs of a product of atoms and its coefficient, never zero, highest degree first.
    Arithmetic with integers and other sizes gives sizes; `//` and `%` round down, as in Python.
    """

    __slots__ = ("_interval", "terms")
    terms: tuple[tuple[Monomial, int], ...]
    _interval: Interval | None

    def __add__(self, other: Size) -> Size:
        return total((self, other))

    def __sub__(self, other: Size) -> Size:
        return total((self, -other))

    def __rsub__(self, other: int) -> Size:
        return total((other, -self))

    def __mul__(self, other: Size) -> Size:
        return _times(self, other)

    def __floordiv__(self, other: Size) -> Size:
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Size:
        return _floordiv(other, self)

    def __mod__(self, other: Size) -> Size:
        return _modulo(self, other)

    def __rmod__(self, other: int) -> Size:
        return _modulo(other, self)

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
        parts = [("- " if factor < 0 else "+ ") + _term_text(monomial, abs(factor)) for monomial, factor in self.terms]
        text = " ".join(parts)
        return text[2:] if text.startswith("+") else "-" + text[2:]

    __repr__ = __str__

    @property
    def symbol(self) -> Symbol | None:
        """What is known of the symbol, if this is a bare symbol."""
        (monomial, factor), *rest = self.terms
        found = monomial[0].symbol if len(monomial) == 1 and not rest else None
        return found if found and found.multiple == factor else None

    @property
    def name(self) -> str | None:
        """The symbol's name, if this is a bare symbol."""
        return self.symbol.name if self.symbol else None

    @property
    def data_dependent(self) -> bool:
        """True if it depends on a size that only the data decide."""
        return any(found.symbol.data_dependent for found in _symbol_atoms(self) if found.symbol)


Size: TypeAlias = int | Dim

_ATOMS: dict[tuple[str, tuple[Size, ...], Symbol | None], Atom] = {}
_DIMS: dict[tuple[tuple[Monomial, int], ...], Dim] = {}


def _atom(kind: str, arguments: tuple[Size, ...], symbol: Symbol | None = None) -> Atom:
    key = (kind, arguments, symbol)
    return _ATOMS.get(key) or _ATOMS.setdefault(key, Atom(kind, arguments, symbol))


def _cons(terms: tuple[tuple[Monomial, int], ...]) -> Dim:
    found = _DIMS.get(terms)
    if found is None:
        found = Dim()
        found.terms, found._interval = terms, None
        found = _DIMS.setdefault(terms, found)
    return found


def _of(kind: str, *arguments: Size) -> Dim:
    return _cons((((_atom(kind, arguments),), 1),))


def _monomial_key(monomial: Monomial) -> tuple[int, list[tuple[int, str, str]]]:
    return -len(monomial), [atom.key for atom in monomial]


def _polynomial(terms: Mapping[Monomial, int]) -> Size:
    kept = [(monomial, factor) for monomial, factor in terms.items() if factor]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return _cons(tuple(sorted(kept, key=lambda term: _monomial_key(term[0]))))


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    constant = int(operator.index(size))
    return (((), constant),) if constant else ()


def _split(size: Size) -> tuple[Size, int]:
    """The part with atoms, and the constant."""
    terms = _terms(size)
    constant = terms[-1][1] if terms and not terms[-1][0] else 0
    return size - constant, constant


def _only_atom(size: Size) -> Atom | None:
    if isinstance(size, Dim) and len(size.terms) == 1:
        monomial, factor = size.terms[0]
        return monomial[0] if factor == 1 and len(monomial) == 1 else None
    return None


def _digest(size: Size) -> str:
    return repr([([atom.key[2] for atom in monomial], factor) for monomial, factor in _terms(size)])


def symbol(name: str, low: int | None = 0, high: int | None = None, multiple: int = 1) -> Dim:
    """The size called `name`, a multiple of `multiple` between the bounds; None is no bound.

    Raises ValueError if no number is one.
    """
    return _symbol(Symbol(name, low, high, multiple, False))


def unknown(name: str) -> Dim:
    """A size that only the data decide (the count of NonZero): a symbol with `data_dependent` set."""
    return _symbol(Symbol(name, 0, None, 1, True))


def _symbol(found: Symbol) -> Dim:
    low, high = _symbol_interval(found) if found.multiple > 0 else (1, 0)
    if not found.name or low > high:
        raise ValueError(f"no multiple of {found.multiple} lies between {found.low} and {found.high}: {found.name!r}")
    return _cons((((_atom("symbol", (), found),), found.multiple),))


def total(sizes: Iterable[Size]) -> Size:
    """The sum; 0 of none."""
    found: dict[Monomial, int] = {}
    for monomial, factor in chain.from_iterable(map(_terms, sizes)):
        found[monomial] = found.get(monomial, 0) + factor
    _pair(found)
    return _polynomial(found)


def _pair(terms: dict[Monomial, int]) -> None:
    """(a // k) * k + a % k -> a"""
    for monomial in [one for one in terms if len(one) == 1 and one[0].kind == "%"]:
        quotient, factor = (_atom("//", monomial[0].arguments),), terms[monomial]
        dividend, divisor = monomial[0].arguments
        if factor and isinstance(divisor, int) and terms.get(quotient) == factor * divisor:
            terms[monomial] = terms[quotient] = 0
            for one, count in _terms(dividend):
                terms[one] = terms.get(one, 0) + factor * count


def _times(a: Size, b: Size) -> Size:
    found: dict[Monomial, int] = {}
    for left, times in _terms(a):
        for right, factor in _terms(b):
            monomial = _joined(left, right)
            found[monomial] = found.get(monomial, 0) + times * factor
    return _polynomial(found)


def _joined(left: Monomial, right: Monomial) -> Monomial:
    """The product; x * x -> x for x in {0, 1}"""
    if not left or not right:
        return left or right
    atoms: list[Atom] = []
    for atom in sorted(left + right, key=lambda one: one.key):
        if not (atoms and atoms[-1] is atom and atom.interval[0] >= 0 and atom.interval[1] <= 1):
            atoms.append(atom)
    return tuple(atoms)


def product(sizes: Iterable[Size]) -> Size:
    """The product; 1 of none."""
    return reduce(operator.mul, sizes, 1)


def _size(size: Size) -> Size:
    return size if isinstance(size, Dim) else int(operator.index(size))


def _reduced(size: Size, divisor: int) -> tuple[Size, Size]:
    """(quotient, rest): size = quotient * divisor + rest, the rest's factors below the divisor."""
    whole = _polynomial({one: f // divisor if f > 0 or not one else -(-f // divisor) for one, f in _terms(size)})
    return whole, size - whole * divisor


def _shared(size: Size, divisor: int) -> int:
    """The largest number that divides the divisor and every factor of an atom."""
    return math.gcd(divisor, *(factor for monomial, factor in _terms(size) if monomial))


def _floordiv(a: Size, b: Size) -> Size:
    a, b = _size(a), _size(b)
    if isinstance(b, Dim):
        return _floordiv_by_size(a, b)
    if b == 0:
        raise InputError(f"the size {a} // 0 does not exist", remedy="check the sizes that the divisor comes from")
    if b < 0:
        return _floordiv(-a, -b)
    if isinstance(a, int):
        return a // b
    whole, rest = _reduced(a, b)
    low, high = _interval(rest)
    if low > -math.inf and low // b == high // b:
        return whole + int(low // b)
    shared = _shared(rest, b)
    varying, constant = _split(rest)
    if shared > 1:
        return whole + _floordiv(_scaled(varying, shared) + constant // shared, b // shared)
    inner = _only_atom(varying)
    if inner and inner.kind == "//" and isinstance(inner.arguments[1], int):
        return whole + _floordiv(inner.arguments[0] + constant * inner.arguments[1], inner.arguments[1] * b)
    return whole + _of("//", rest, b)


def _floordiv_by_size(a: Size, b: Dim) -> Size:
    if not _known_nonzero(b):
        return _of("//", a, b)
    quotient, rest = _long_division(a, b)
    if known_le(0, rest) and known_le(rest + 1, b):
        return quotient
    return quotient + _of("//", rest, b)


def _scaled(size: Size, divisor: int) -> Size:
    """size / divisor, where it divides every factor."""
    return _polynomial({monomial: factor // divisor for monomial, factor in _terms(size)})


def _modulo(a: Size, b: Size) -> Size:
    a, b = _size(a), _size(b)
    if isinstance(b, Dim):
        return _modulo_by_size(a, b)
    if b == 0:
        raise InputError(f"the size {a} % 0 does not exist", remedy="check the sizes that the divisor comes from")
    if b < 0:
        return -_modulo(-a, -b)
    if isinstance(a, int):
        return a % b
    _, rest = _reduced(a, b)
    low, high = _interval(rest)
    if low > -math.inf and low // b == high // b:
        return rest - int(low // b) * b
    shared = _shared(rest, b)
    if shared > 1:
        varying, constant = _split(rest)
        return shared * _modulo(_scaled(varying, shared) + constant // shared, b // shared) + constant % shared
    return _of("%", rest, b)


def _modulo_by_size(a: Size, b: Dim) -> Size:
    rest = _long_division(a, b)[1] if _known_nonzero(b) else a
    if known_le(0, rest) and known_le(rest + 1, b):
        return rest
    return _of("%", rest, b)


def _known_nonzero(size: Size) -> bool:
    low, high = _interval(size)
    return low > 0 or high < 0


def _long_division(a: Size, b: Dim) -> tuple[Size, Size]:
    """(quotient, rest): a = quotient * b + rest, by the leading monomial of b while it divides."""
    lead, factor = b.terms[0]
    quotient: Size = 0
    rest = a
    for _ in range(64):
        steps = (_monomial_quotient(monomial, times, lead, factor) for monomial, times in _terms(rest))
        step = next((one for one in steps if one is not None), None)
        if step is None:
            break
        quotient, rest = quotient + step, rest - step * b
    return quotient, rest


def _monomial_quotient(monomial: Monomial, times: int, lead: Monomial, factor: int) -> Size | None:
    left = list(monomial)
    for atom in lead:
        if atom not in left:
            return None
        left.remove(atom)
    return None if times % factor else _polynomial({tuple(left): times // factor})


def divide_exact(a: Size, b: Size) -> Size | None:
    """a / b as a formula, or None where b is not known to divide a. A divisor that may be zero is taken not to be."""
    a, b = _size(a), _size(b)
    if isinstance(b, int):
        return _floordiv(a, b) if b and divisible(a, b) else None
    quotient, rest = _long_division(a, b)
    return quotient if isinstance(rest, int) and rest == 0 else None


def ceildiv(a: Size, b: Size) -> Size:
    """a / b rounded up."""
    return _floordiv(a + b - 1, b) if known_positive(b) else -_floordiv(-a, b)


def truncdiv(a: Size, b: Size) -> Size:
    """a / b rounded to zero, as ONNX divides integers."""
    return select(less(a if known_positive(b) else a * b, 0), -_floordiv(-a, b), _floordiv(a, b))


def minimum(*sizes: Size) -> Size:
    """The smallest."""
    return _extreme("minimum", sizes, known_le)


def maximum(*sizes: Size) -> Size:
    """The largest."""
    return _extreme("maximum", sizes, lambda a, b: known_le(b, a))


def _extreme(kind: str, sizes: tuple[Size, ...], beats: Callable[[Size, Size], bool]) -> Size:
    kept: list[Size] = []
    for size in _flat(kind, sizes):
        if not any(beats(other, size) for other in kept):
            kept = [*(other for other in kept if not beats(size, other)), size]
    return kept[0] if len(kept) == 1 else _of(kind, *kept)


def _flat(kind: str, sizes: tuple[Size, ...]) -> list[Size]:
    """Without nesting and repetition, in order: the operation is associative, commutative and idempotent."""
    if not sizes:
        raise ValueError(f"{kind} takes at least one size")
    parts: dict[Size, None] = {}
    for size in map(_size, sizes):
        atom = _only_atom(size)
        parts.update(dict.fromkeys(atom.arguments if atom and atom.kind == kind else (size,)))
    return sorted(parts, key=_size_key)


def _size_key(size: Size) -> list[tuple[tuple[int, list[tuple[int, str, str]]], int]]:
    return [(_monomial_key(monomial), factor) for monomial, factor in _terms(size)]


def broadcast(*sizes: Size) -> Size:
    """The size that these broadcast to, as in NumPy: all that are not 1 must be equal.

    One that is known not to be 1 is the answer; whether the others fit it is for the call to check.
    Raises InputError if two are known to differ.
    """
    kept = [size for size in _flat("broadcast", sizes) if not (isinstance(size, int) and size == 1)]
    integers: list[Size] = [size for size in kept if isinstance(size, int)]
    if len(integers) > 1:
        raise InputError(
            f"the sizes {integers[0]} and {integers[1]} do not broadcast", remedy="make them equal, or one of them 1"
        )
    certain = integers or [size for size in kept if _known_nonzero(size - 1)]
    if len(certain) == 1:
        return certain[0]
    return _of("broadcast", *kept) if len(kept) > 1 else kept[0] if kept else 1


def equal(a: Size, b: Size) -> Size:
    """1 if a = b, else 0."""
    difference = a - b
    low, high = _interval(difference)
    if low == high:
        return int(low == 0)
    varying, constant = _split(difference)
    shared = factor_of(varying)
    if low > 0 or high < 0 or constant % shared:
        return 0
    shared = _shared(varying, 0)
    reduced = _scaled(varying, shared) + constant // shared
    return _of("equal", -reduced if _terms(reduced)[0][1] < 0 else reduced)


def less(a: Size, b: Size) -> Size:
    """1 if a < b, else 0."""
    difference = a - b
    low, high = _interval(difference)
    if high < 0 or low >= 0:
        return int(high < 0)
    varying, constant = _split(difference)
    shared = _shared(varying, 0)
    reduced = _scaled(varying, shared) + constant // shared
    return 1 - _of("less", -reduced - 1) if _terms(reduced)[0][1] < 0 else _of("less", reduced)


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
    if known_equal(a, b):
        return a
    if _terms(condition)[0][1] < 0:
        condition, a, b = _truth(1 - condition), b, a
    if isinstance(a, int) and isinstance(b, int):
        return b + (a - b) * condition
    return _of("select", condition, a, b)


def bounds(size: Size) -> tuple[int | None, int | None]:
    """(low, high): every value lies between them; None is no bound."""
    low, high = _interval(size)
    return None if math.isinf(low) else int(low), None if math.isinf(high) else int(high)


def known_equal(a: Size, b: Size) -> bool:
    """True if a = b for all values of the symbols."""
    return a is b or _interval(a - b) == (0, 0)


def known_positive(size: Size) -> bool:
    """True if size > 0 for all values of the symbols."""
    return _interval(size)[0] > 0


def known_le(a: Size, b: Size) -> bool:
    """True if a <= b for all values of the symbols."""
    return _interval(b - a)[0] >= 0


def divisible(size: Size, n: int) -> bool:
    """True if n divides size for all values of the symbols."""
    return factor_of(size) % n == 0


def factor_of(size: Size) -> int:
    """The largest number known to divide the size; 0 for 0."""
    return math.gcd(*(factor * math.prod(map(_atom_factor, monomial)) for monomial, factor in _terms(size)))


def _atom_factor(atom: Atom) -> int:
    if atom.kind == "//" and isinstance(atom.arguments[1], int):
        found = factor_of(atom.arguments[0])
        return found // atom.arguments[1] if found % atom.arguments[1] == 0 else 1
    if atom.kind in ("minimum", "maximum", "broadcast", "%"):
        return math.gcd(*map(factor_of, atom.arguments))
    return math.gcd(*map(factor_of, atom.arguments[1:])) if atom.kind == "select" else 1


def _interval(size: Size) -> Interval:
    if isinstance(size, int):
        return size, size
    if size._interval is None:
        size._interval = _narrowed(size)
    return size._interval


def _narrowed(size: Dim) -> Interval:
    constant = _split(size)[1]
    if abs(constant) >= _ENORMOUS:
        return (1, math.inf) if constant > 0 else (-math.inf, -1)
    low, high = _sum_interval(size.terms, lambda atom: atom.interval)
    if 2 <= len(size.terms[0][0]) <= 6 and len(size.terms) > 1:
        shifted = _from_corner(size)
        return max(low, shifted[0]), min(high, shifted[1])
    return low, high


def _sum_interval(terms: Iterable[tuple[Monomial, int]], interval: Callable[[Atom], Interval]) -> Interval:
    low: float = 0
    high: float = 0
    for monomial, factor in terms:
        exact: Interval = (factor, factor)
        ends = reduce(_product_interval, map(interval, monomial), exact)
        low, high = low + ends[0], high + ends[1]
    return low, high


def _product_interval(a: Interval, b: Interval) -> Interval:
    corners = [x * y if x and y else 0 for x in a for y in b]
    return min(corners), max(corners)


def _from_corner(size: Dim) -> Interval:
    """The interval of the sum, with every x written as low + y: tighter, as terms of both signs cancel first."""
    expanded: dict[Monomial, int] = {}
    for monomial, factor in size.terms:
        parts: dict[Monomial, int] = {(): factor}
        for atom in monomial:
            low = 0 if math.isinf(atom.interval[0]) else int(atom.interval[0])
            taken = {(*one, atom): count for one, count in parts.items()}
            for one, count in parts.items():
                taken[one] = taken.get(one, 0) + count * low
            parts = taken
        for one, count in parts.items():
            expanded[one] = expanded.get(one, 0) + count
    return _sum_interval(expanded.items(), _above_low)


def _above_low(atom: Atom) -> Interval:
    low, high = atom.interval
    return (low, high) if math.isinf(low) else (0, high - low)


def _symbol_interval(found: Symbol) -> Interval:
    low = -math.inf if found.low is None else -(-found.low // found.multiple)
    return low, math.inf if found.high is None else found.high // found.multiple


def _quotient_interval(a: Size, b: Size) -> Interval:
    (low, high), (least, most) = _interval(a), _interval(b)
    if least < 1:
        return _ANY
    lower = _floor(low, most if low >= 0 else least)
    return lower, _floor(high, least if high >= 0 else most)


def _floor(a: float, b: float) -> float:
    if math.isinf(a):
        return a
    return a // b if not math.isinf(b) else 0 if a >= 0 else -1


def _remainder_interval(a: Size, b: Size) -> Interval:
    (low, high), (least, most) = _interval(a), _interval(b)
    if least < 1:
        return _ANY
    return 0, min(most - 1, high) if low >= 0 else most - 1


def _hull(*sizes: Size) -> Interval:
    lows, highs = zip(*map(_interval, sizes), strict=True)
    return min(lows), max(highs)


def _least_interval(*sizes: Size) -> Interval:
    lows, highs = zip(*map(_interval, sizes), strict=True)
    return min(lows), min(highs)


def _most_interval(*sizes: Size) -> Interval:
    lows, highs = zip(*map(_interval, sizes), strict=True)
    return max(lows), max(highs)


_INTERVALS: dict[str, Callable[..., Interval]] = {
    "//": _quotient_interval,
    "%": _remainder_interval,
    "minimum": _least_interval,
    "maximum": _most_interval,
    "broadcast": _hull,
    "select": lambda condition, a, b: _hull(a, b),
    "equal": lambda difference: (0, 1),
    "less": lambda difference: (0, 1),
}

_BUILD: dict[str, Callable[..., Size]] = {
    "//": _floordiv,
    "%": _modulo,
    "minimum": minimum,
    "maximum": maximum,
    "broadcast": broadcast,
    "select": select,
    "equal": lambda difference: equal(difference, 0),
    "less": lambda difference: less(difference, 0),
}


def _symbol_atoms(size: Size) -> list[Atom]:
    """Every symbol in it, in order."""
    found: dict[Atom, None] = {}
    seen: set[Size] = set()
    waiting = [size]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for atom in chain.from_iterable(monomial for monomial, _ in _terms(one)):
            if atom.symbol:
                found[atom] = None
            waiting.extend(atom.arguments)
    return sorted(found, key=lambda atom: atom.key)


def symbols(size: Size) -> frozenset[str]:
    """The names of the symbols in it."""
    return frozenset(atom.symbol.name for atom in _symbol_atoms(size) if atom.symbol)


def declared(size: Size) -> tuple[Dim, ...]:
    """The symbols in it, as sizes, in order of their names."""
    return tuple(_symbol(atom.symbol) for atom in _symbol_atoms(size) if atom.symbol)


def substitute(size: Size, mapping: Mapping[str, Size]) -> Size:
    """The formula with symbols replaced, by name; a name that is not in the mapping stays.

    Raises InputError if a number breaks what is known of its symbol, or for a division by zero that is needed.
    """
    return _rebuilt(_size(size), mapping, {})


def _rebuilt(size: Size, mapping: Mapping[str, Size], done: dict[Size, Size]) -> Size:
    if isinstance(size, int):
        return size
    if size not in done:
        parts = (
            product([factor, *(_rebuilt_atom(atom, mapping, done) for atom in monomial)])
            for monomial, factor in size.terms
        )
        done[size] = total(list(parts))
    return done[size]


def _rebuilt_atom(atom: Atom, mapping: Mapping[str, Size], done: dict[Size, Size]) -> Size:
    if atom.symbol:
        value = mapping.get(atom.symbol.name)
        return _cons((((atom,), 1),)) if value is None else _bound(atom, atom.symbol, _size(value))
    if atom.kind == "select":
        condition = _rebuilt(atom.arguments[0], mapping, done)
        if isinstance(condition, int):
            return _rebuilt(atom.arguments[1 if condition else 2], mapping, done)
    return _BUILD[atom.kind](*(_rebuilt(one, mapping, done) for one in atom.arguments))


def _bound(atom: Atom, known: Symbol, value: Size) -> Size:
    count = _floordiv(value, known.multiple)
    if isinstance(value, int) and not (
        value % known.multiple == 0 and atom.interval[0] <= _interval(count)[0] <= atom.interval[1]
    ):
        step = f" and be a multiple of {known.multiple}" if known.multiple > 1 else ""
        limits = f"{'' if known.low is None else known.low} .. {'' if known.high is None else known.high}"
        raise InputError(f"{known.name} is {value}; it must lie in {limits}{step}", argument=known.name)
    return count


def evaluate(size: Size, bindings: Mapping[str, int]) -> int:
    """The number it is. Raises InputError naming a symbol that has no number, or one that it cannot have."""
    found = substitute(size, bindings)
    if isinstance(found, int):
        return found
    missing = ", ".join(sorted(symbols(found)))
    raise InputError(f"the size {size} needs {missing}", argument=missing, remedy="give it a number")


def _sides(difference: Size) -> tuple[Size, Size]:
    """(a, b) without a minus: difference = a - b."""
    left = _polynomial({monomial: factor for monomial, factor in _terms(difference) if factor > 0})
    return left, left - difference


def _term_text(monomial: Monomial, factor: int) -> str:
    parts = []
    for atom in monomial:
        if atom.symbol and factor % atom.symbol.multiple == 0:
            factor //= atom.symbol.multiple
            parts.append(_symbol_text(atom.symbol))
        else:
            parts.append(str(atom))
    if factor != 1 or not parts:
        parts.insert(0, str(factor))
    return "*".join(part if len(parts) == 1 or _SIMPLE.fullmatch(part) else f"({part})" for part in parts)


def _symbol_text(found: Symbol) -> str:
    return found.name if _PLAIN.fullmatch(found.name) else json.dumps(found.name)


_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_SIMPLE = re.compile(r'\d+|(?:\w+\.)*\w+(?:\([^()]*\))?|"(?:[^"\\]|\\.)*"', re.ASCII)
