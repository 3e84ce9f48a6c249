"""The indivisible parts of formulas of sizes: symbols, and the operations that no polynomial expresses."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from tenfold.errors import InputError
from tenfold.ir import interval, polynomial
from tenfold.ir.interval import Interval

if TYPE_CHECKING:
    from tenfold.ir.dim import Size


class Symbol(NamedTuple):
    """What is known of a named size: its value is a multiple of `multiple` from `low` to `high` (None: any)."""

    name: str
    low: int | None
    high: int | None
    multiple: int
    data_dependent: bool

    def interval(self) -> Interval:
        """Where value / multiple lies. Raises ValueError if it lies nowhere."""
        low, high = interval.multiples(self.low, self.high, self.multiple) if self.multiple > 0 else (1, 0)
        if low > high or not self.name:
            raise ValueError(f"no multiple of {self.multiple} lies from {self.low} to {self.high}: {self.name!r}")
        return low, high

    def nearest(self, value: int) -> int:
        """The value that the symbol can have nearest to this one, or nearest below."""
        low, high = self.interval()
        return int(min(max(value // self.multiple, low), high)) * self.multiple

    def check(self, value: int) -> None:
        """Raises InputError if the symbol can't have this value."""
        low, high = self.interval()
        if value % self.multiple or not low <= value // self.multiple <= high:
            step = f" a multiple of {self.multiple}" if self.multiple > 1 else ""
            floor = "" if self.low is None else f" at least {self.low}"
            ceiling = "" if self.high is None else f" at most {self.high}"
            raise InputError(
                f"{self.name} is {value}; it must be{step}{floor}{ceiling}",
                argument=self.name,
                remedy="give a size within these limits, or build with wider ones",
            )


class Atom:
    """A symbol, counted in its multiples, or an operation on sizes. There is one object for each.

    `kind` is "symbol", "//", "%", or the name of a function of `tenfold.ir.dim`. `key` orders atoms: by name, then by
    structure. `interval` and `factor` are what is known of the value: where it lies, and a number that divides it.
    `weight` counts the atoms that its text names, each as often as it stands there.
    """

    __slots__ = ("arguments", "factor", "interval", "key", "kind", "symbol", "weight")

    def __init__(self, kind: str, arguments: tuple[Size, ...], symbol: Symbol | None) -> None:
        self.kind = kind
        self.arguments = arguments
        self.symbol = symbol
        structure = repr((kind, [_structure(argument) for argument in arguments], symbol))
        digest = blake2b(structure.encode(), digest_size=16).hexdigest()
        self.key = (0, symbol.name, digest) if symbol else (1, kind, digest)
        if symbol:
            self.interval = symbol.interval()
        else:
            self.interval = interval.OPERATIONS[kind](*map(interval.of_size, arguments))
        self.factor = _FACTORS[kind](*arguments) if kind in _FACTORS else 1
        self.weight = 1 + sum(map(weight_of, arguments))

    def __reduce__(self) -> tuple[object, ...]:
        return atom, (self.kind, self.arguments, self.symbol)


def _structure(size: Size) -> list[tuple[list[str], int]]:
    return [([part.key[2] for part in monomial], factor) for monomial, factor in polynomial.of_size(size).items()]


_ATOMS: dict[tuple[str, tuple[Size, ...], Symbol | None], Atom] = {}


def atom(kind: str, arguments: tuple[Size, ...], symbol: Symbol | None = None) -> Atom:
    """The atom of this structure: always the same object, in every thread."""
    key = (kind, arguments, symbol)
    return _ATOMS.get(key) or _ATOMS.setdefault(key, Atom(kind, arguments, symbol))


def weight_of(size: Size) -> int:
    """How many atoms the size's text names, each as often as it stands there."""
    return sum(part.weight for monomial in polynomial.of_size(size) for part in monomial)


def factor_of(size: Size) -> int:
    """The largest number known to divide the size; 0 for 0."""
    terms = polynomial.of_size(size)
    return math.gcd(*(factor * math.prod(part.factor for part in monomial) for monomial, factor in terms.items()))


def _shared_factor(*sizes: Size) -> int:
    return math.gcd(*map(factor_of, sizes))


def _quotient_factor(dividend: Size, divisor: Size) -> int:
    whole, rest = divmod(factor_of(dividend), divisor) if isinstance(divisor, int) else (1, 1)
    return 1 if rest else whole


_FACTORS: dict[str, Callable[..., int]] = {
    "//": _quotient_factor,
    "%": _shared_factor,
    "minimum": _shared_factor,
    "maximum": _shared_factor,
    "broadcast": _shared_factor,
    "select": lambda condition, a, b: _shared_factor(a, b),
}
